"""What the runs of a plan that are still to come will take, learned from those that have their rows.

One per plan and reader: rows are summed up by cell, and the law is fitted anew only when a row is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log
from typing import Any

import numpy as np

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.estimate import steps_of
from grok_sweeps.plan.learned import Accuracy, DelayLaw, Floats, Seen
from grok_sweeps.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class Outlook:
    """Run-steps done by finished runs and expected of the others; `accuracy` is None before a run has finished."""

    steps_done: int
    steps_left: int
    accuracy: Accuracy | None


class Forecast:
    """The forecast of one plan."""

    def __init__(self, plan: Plan) -> None:
        cells: dict[str, RunConfig] = {}
        for run in plan.runs:
            cells.setdefault(run.cell_id, run.config)
        number = {cell_id: k for k, cell_id in enumerate(cells)}
        self._plan, self._configs = plan, list(cells.values())
        self._cells = np.array([number[run.cell_id] for run in plan.runs])
        self._law = DelayLaw(self._configs)
        self._last: tuple[list[float], Outlook] | None = None

    def outlook(self, rows: Mapping[str, Mapping[str, Any]]) -> Outlook:
        """What is done and what is left, by these rows of finished runs."""
        runs = self._plan.runs
        found = [rows.get(run.run_id) for run in runs]
        steps = [0.0 if row is None else -1.0 if row["outcome"] == "failed" else row["steps_run"] for row in found]
        if self._last is None or self._last[0] != steps:
            self._last = (steps, self._new_outlook(found))
        return self._last[1]

    def _new_outlook(self, found: Sequence[Mapping[str, Any] | None]) -> Outlook:
        seen = seen_runs(found, self._cells, len(self._configs))
        expected = self._law.fit(seen).tolist()
        foreseen = [steps_of(config, ln) for config, ln in zip(self._configs, expected, strict=True)]
        missing = np.bincount(self._cells[[row is None for row in found]], minlength=len(self._configs))
        done = sum(
            row["steps_run"] - (run.config.fork_step or 0)
            for run, row in zip(self._plan.runs, found, strict=True)
            if row is not None and row["outcome"] != "failed"
        )
        return Outlook(done, int(missing @ np.array(foreseen)), self._law.accuracy(seen))


def seen_runs(rows: Sequence[Mapping[str, Any] | None], cells: np.ndarray[Any, Any], n_cells: int) -> Seen:
    """Sum up rows (None: not finished) whose run is of cell `cells[k]`."""
    grokked: tuple[list[int], list[float]] = ([], [])
    censored: tuple[list[int], list[float]] = ([], [])
    first_at = np.full(n_cells, np.inf)
    for cell, row in zip(cells.tolist(), rows, strict=True):
        if row is None or row["outcome"] not in ("grokked", "censored"):
            continue
        into, step = (grokked, "grokked_step") if row["outcome"] == "grokked" else (censored, "steps_run")
        into[0].append(cell)
        into[1].append(log(max(row[step], 1)))
        first_at[cell] = min(first_at[cell], _seconds(row["finished_at"]))
    return Seen(*_count_and_mean(*grokked, n_cells), *_count_and_mean(*censored, n_cells), first_at)


def _count_and_mean(cells: list[int], values: list[float], n_cells: int) -> tuple[Floats, Floats]:
    count = np.bincount(cells, minlength=n_cells).astype(float)
    return count, np.bincount(cells, weights=values, minlength=n_cells) / np.maximum(count, 1.0)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
