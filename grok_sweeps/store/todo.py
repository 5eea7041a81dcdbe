"""What is still to be trained: the difference between a plan and its results table.

A run that diverged or failed is settled: it has its row. Where others fork from it they have no state to start from,
and are blocked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from grok_sweeps.config import STOP_AT_BUDGET, RunConfig
from grok_sweeps.plan.plan import Plan, PlannedRun

WITHOUT_STATE = ("diverged", "failed")
"""Outcomes of runs that keep no state."""


@dataclass(frozen=True, slots=True)
class Todo:
    """Which runs of a plan have more to do.

    `extend_to` is a longer budget for runs that were censored, or None. `kept` holds the steps of the states that the
    store keeps of each run: a parent whose state is gone is trained again, since its forks start from it.
    """

    plan: Plan
    extend_to: int | None = None
    kept: Mapping[str, Collection[int]] = field(default_factory=dict)

    def runs(self, rows: Mapping[str, Mapping[str, Any]], stage: int | None = None) -> list[PlannedRun]:
        """Runs, in the plan's order, that `rows` does not settle and that can start; of one stage or of all."""
        parents = frozenset(self.plan.parents.values())
        blocked = self.blocked(rows)
        return [
            run
            for run in self.plan.runs
            if (stage is None or run.stage == stage)
            and run.run_id not in blocked
            and not self._settled(run, rows.get(run.run_id), parents)
        ]

    def blocked(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Runs without a row that have no state to start from, with the run that ended without it."""
        broken: dict[str, str] = {}
        for run in self.plan.runs:  # a parent stands before its forks
            parent = self.plan.parents.get(run.run_id)
            if parent is not None and run.run_id not in rows:
                if parent in broken:
                    broken[run.run_id] = broken[parent]
                elif (
                    parent in rows
                    and rows[parent]["outcome"] in WITHOUT_STATE
                    and run.config.fork_step not in self.kept.get(parent, ())
                ):
                    broken[run.run_id] = parent
        return broken

    def _settled(self, run: PlannedRun, row: Mapping[str, Any] | None, parents: frozenset[str]) -> bool:
        kept = self.kept.get(run.run_id, ()) if run.run_id in parents else None
        return settled(row, horizon(run.config, self.extend_to), kept)


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
