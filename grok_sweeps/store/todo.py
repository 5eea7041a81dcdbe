"""What is still to be trained: the difference between a plan and its results table.

A run that diverged or failed is settled: it has its row. Where others fork from it they have no state to start from,
and are blocked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grok_sweeps.config import STOP_AT_BUDGET, RunConfig
from grok_sweeps.plan.plan import Plan, PlannedRun

WITHOUT_STATE = ("diverged", "failed")
"""Outcomes of runs that keep no state."""


Rows = Mapping[str, Mapping[str, Any]]
"""Rows by run_id."""


@dataclass(frozen=True, slots=True)
class Todo:
    """Which runs of a plan have more to do.

    `extend_to` is a longer budget for runs that were censored, or None. `kept` holds the steps of the states that the
    store keeps of each run: a parent whose state is gone is trained again, since its forks start from it.
    """

    plan: Plan
    extend_to: int | None = None
    kept: Mapping[str, Collection[int]] = field(default_factory=dict)

    def runs(self, rows: Rows, stage: int | None = None) -> list[PlannedRun]:
        """Runs, in the plan's order, that `rows` does not settle and that can start; of one stage or of all."""
        return self.left_of(self.plan.runs if stage is None else self.plan.stage(stage), rows)

    def left_of(self, runs: Iterable[PlannedRun], rows: Rows) -> list[PlannedRun]:
        """Those of some runs that `rows` does not settle and that can start; the others are not looked at."""
        return [run for run in runs if not self._settled(run, rows) and self._blocked_by(run, rows) is None]

    def blocked(self, rows: Rows) -> dict[str, str]:
        """Runs without a row that have no state to start from, with the run that ended without it."""
        return {run.run_id: by for run in self.plan.runs if (by := self._blocked_by(run, rows)) is not None}

    def _blocked_by(self, run: PlannedRun, rows: Rows) -> str | None:
        """The run that ended without the state from which this one, or one before it, starts; None if none did."""
        while run.run_id not in rows and (parent := self.plan.parents.get(run.run_id)) is not None:
            row = rows.get(parent)
            if row is not None:
                lost = row["outcome"] in WITHOUT_STATE and run.config.fork_step not in self.kept.get(parent, ())
                return parent if lost else None
            run = self.plan.fork_parents[parent]
        return None

    def _settled(self, run: PlannedRun, rows: Rows) -> bool:
        kept = self.kept.get(run.run_id, ()) if run.run_id in self.plan.fork_parents else None
        return settled(rows.get(run.run_id), horizon(run.config, self.extend_to), kept)


def settled(row: Mapping[str, Any] | None, horizon_steps: int, kept: Collection[int] | None) -> bool:
    """Whether a run has nothing more to do.

    Args:
        row: its row, or None.
        horizon_steps: the budget it is given now.
        kept: steps of its states in the store, where forks start from it; else None.
    """
    if row is None or (row["outcome"] == "censored" and row["steps_run"] < horizon_steps):
        return False
    return kept is None or horizon_steps in kept or row["outcome"] in WITHOUT_STATE


def horizon(config: RunConfig, extend_to: int | None) -> int:
    """The budget of a run: its own, or a longer one that a resume grants.

    A run that is to stop at its budget (a fork's parent, say) has trained what was asked for and is not extended.
    """
    return config.max_steps if extend_to is None or config.stop == STOP_AT_BUDGET else max(config.max_steps, extend_to)
