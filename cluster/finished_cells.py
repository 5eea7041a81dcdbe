"""Which cells a sweep has finished, in one line each."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from grok_sweeps.config import RunConfig
from grok_sweeps.plan import Plan, PlannedRun


class FinishedCells:
    """Tells of each cell of a plan once, when its last run has a row. Safe between threads."""

    def __init__(self, plan: Plan) -> None:
        self._runs: dict[str, list[PlannedRun]] = {}
        for run in plan.runs:
            self._runs.setdefault(run.cell_id, []).append(run)
        self._cell_of = {run.run_id: run.cell_id for run in plan.runs}
        self._left = Counter(run.cell_id for run in plan.runs)
        self._n_seen = 0
        self._lock = threading.Lock()

    def news(self, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """A line for each cell that the rows new since the last call complete; rows only ever come in at the end."""
        lines = []
        with self._lock:
            fresh = list(islice(rows, self._n_seen, None))
            self._n_seen += len(fresh)
            for cell_id in [self._cell_of[run_id] for run_id in fresh if run_id in self._cell_of]:
                self._left[cell_id] -= 1
                if not self._left[cell_id]:
                    runs = self._runs[cell_id]
                    lines.append(describe_cell(runs[0].config, [rows[run.run_id] for run in runs]))
        return lines


def describe_cell(config: RunConfig, rows: list[Mapping[str, Any]]) -> str:
    """One line about a finished cell."""
    steps = sorted(row["grokked_step"] for row in rows if row["outcome"] == "grokked")
    where = f"p {config.p} {config.arm}" + (f" rho {config.rho:g}" if config.rho is not None else "")
    where = ", ".join((f"{where} tau {config.tau:g}", *config.differences()))
    span = f", grokked at {steps[0]:,}–{steps[-1]:,}" if steps else ""
    failed = sum(row["outcome"] == "failed" for row in rows)
    return f"cell {where}: {len(steps)} of {len(rows)} grokked{span}" + (f", {failed} failed" if failed else "")
