"""The finished runs of a plan, counted as their rows come in.

Each row is told once, in a time that does not depend on how many runs there are; what is asked in between takes a time
that grows with cells and stages at most.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.cells import Cells
from grok_sweeps.plan.forecast import Forecast, Outlook
from grok_sweeps.plan.plan import Plan
from grok_sweeps.schema import OUTCOMES

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StageProgress:
    """Runs of one stage."""

    stage: int
    runs: int
    finished: int


@dataclass(frozen=True, slots=True)
class CellProgress:
    """Runs of one cell, in the order of the plan; `group` names what else it shares with the cells of its grid."""

    group: str
    p: int
    arm: str
    rho: float | None
    tau: float
    runs: int
    finished: int
    grokked: int


@dataclass(frozen=True, slots=True)
class FinishedCell:
    """A cell whose every run has its row, and these rows in the order of the plan."""

    config: RunConfig
    rows: tuple[Row, ...]


class FinishedRuns:
    """Which runs of a plan have ended, and how. Not safe between threads.

    Args:
        plan: the runs.
        rows: rows by run_id, as far as they are known.
    """

    def __init__(self, plan: Plan, rows: Mapping[str, Row] | None = None) -> None:
        self._plan, self._cells = plan, Cells(plan)
        self._places = {run.run_id: place for place, run in enumerate(plan.runs)}
        self._rows: list[Row | None] = [None] * len(plan.runs)
        self._outcomes: Counter[str] = Counter()
        self._failed: list[int] = []
        """Places of runs that failed, the first on top; some may have another row since."""
        of_stage = Counter(run.stage for run in plan.runs)
        self._stages = [StageProgress(stage, of_stage[stage], 0) for stage in range(plan.n_stages)]
        self._of_cells = [
            _of_cell(config, len(members))
            for config, members in zip(self._cells.configs, self._cells.members, strict=True)
        ]
        self._forecast = Forecast(plan, self._cells)
        self.add(rows or {})

    @property
    def n_runs(self) -> int:
        """Runs of the plan."""
        return len(self._rows)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many runs ended how."""
        return {name: self._outcomes[name] for name in OUTCOMES if self._outcomes[name]}

    @property
    def stages(self) -> tuple[StageProgress, ...]:
        """The plan's stages."""
        return tuple(self._stages)

    @property
    def cells(self) -> tuple[CellProgress, ...]:
        """The plan's cells."""
        return tuple(self._of_cells)

    @property
    def outlook(self) -> Outlook:
        """The steps that are done and those that are expected."""
        return self._forecast.outlook()

    @property
    def first_error(self) -> str | None:
        """What is said of the first failed run in the plan's order."""
        while self._failed:
            place = self._failed[0]
            row = self._rows[place]
            if row is not None and row["outcome"] == "failed":
                return f"run {self._plan.runs[place].run_id}: {row.get('error') or 'no reason is known'}"
            heapq.heappop(self._failed)
        return None

    def add(self, rows: Mapping[str, Row]) -> list[FinishedCell]:
        """Take in rows by run_id, each in the place of one that is known of its run; return the cells they complete.

        A cell is completed once. Rows of other runs do not count.
        """
        finished = []
        for run_id, row in rows.items():
            place = self._places.get(run_id)
            if place is None:
                continue
            before, self._rows[place] = self._rows[place], row
            if self._count(place, before, row):
                cell = self._cells.of_run[place]
                members = (self._rows[k] for k in self._cells.members[cell])
                finished.append(FinishedCell(self._cells.configs[cell], tuple(r for r in members if r is not None)))
        return finished

    def _count(self, place: int, before: Row | None, row: Row) -> bool:
        """Count a run's row instead of the one before; return whether this completes its cell."""
        cell, stage, outcome = self._cells.of_run[place], self._plan.runs[place].stage, row["outcome"]
        own, is_new = self._of_cells[cell], before is None
        grokked = (outcome == "grokked") - (before is not None and before["outcome"] == "grokked")
        self._of_cells[cell] = own = replace(own, finished=own.finished + is_new, grokked=own.grokked + grokked)
        if before is None:
            self._stages[stage] = replace(self._stages[stage], finished=self._stages[stage].finished + 1)
        else:
            self._outcomes[before["outcome"]] -= 1
        self._outcomes[outcome] += 1
        if outcome == "failed":
            heapq.heappush(self._failed, place)
        self._forecast.add(place, row)
        return is_new and own.finished == own.runs


def _of_cell(config: RunConfig, n_runs: int) -> CellProgress:
    own = [d for d in config.differences() if not d.startswith(("gamma", "fork_step"))]
    group = ", ".join((f"p = {config.p}", *([config.arm] if config.arm != "clamp" else []), *own))
    return CellProgress(group, config.p, config.arm, config.rho, config.tau, n_runs, 0, 0)
