"""What a sweep lost under faults: its results table against the undisturbed one's. Pure.

Rows are compared as a researcher gets them, from the views, after their reduction to one a run. Repeating a sweep
under another name does not change its run_ids, so one undisturbed sweep is what all others are compared with.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, fields

import pandas as pd

ANSWERS = ("outcome", "grokked_step", "steps_run")
"""What a run found; `final_state_sha256` is compared on its own, as the stronger promise."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Counts of runs: without a row, with more than one, with another answer, final state or curve than undisturbed."""

    lost: int = 0
    duplicated: int = 0
    different: int = 0
    states_differ: int = 0
    curves_differ: int = 0

    def __add__(self, other: Losses) -> Losses:
        return Losses(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def any(self) -> bool:
        """Whether a promise is broken."""
        return any(getattr(self, f.name) for f in fields(self))


@dataclass(frozen=True, slots=True)
class Results:
    """A sweep's tables: `runs` and `curves` as `open_store` gives them, and the run_ids of its plan."""

    planned: frozenset[str]
    runs: pd.DataFrame
    curves: pd.DataFrame

    @property
    def run_steps(self) -> int:
        """Steps that it takes to train the rows once; a fork begins at its parent's step."""
        first = self.runs.drop_duplicates("run_id")
        return int((first["steps_run"] - first["fork_step"].fillna(0)).sum())


def compare(undisturbed: Results, found: Results) -> Losses:
    """Count what `found` lacks, has twice or has otherwise."""
    counts = found.runs["run_id"].value_counts()
    both = sorted(set(counts.index) & set(undisturbed.runs["run_id"]))
    # A row that nobody planned answers a question that nobody asked.
    foreign = set(counts.index) - found.planned
    return Losses(
        lost=len(found.planned - set(counts.index)),
        duplicated=int((counts - 1).sum()) + len(foreign),
        different=_differ(undisturbed.runs, found.runs, both, ANSWERS),
        states_differ=_differ(undisturbed.runs, found.runs, both, ("final_state_sha256",)),
        curves_differ=len(_curves_that_differ(undisturbed.curves, found.curves, set(both))),
    )


def _differ(expected: pd.DataFrame, found: pd.DataFrame, run_ids: list[str], columns: tuple[str, ...]) -> int:
    one, other = (
        frame.drop_duplicates("run_id").set_index("run_id").loc[run_ids, list(columns)] for frame in (expected, found)
    )
    same = (one == other) | (one.isna() & other.isna())
    return int((~same.all(axis=1)).sum())


def _curves_that_differ(expected: pd.DataFrame, found: pd.DataFrame, run_ids: Set[str]) -> set[str]:
    """Runs whose readings are not those of the undisturbed run, step for step and value for value."""
    readings = [name for name in expected.columns if name not in ("sweep", "attempt")]
    one, other = (
        dict(
            tuple(frame.loc[frame["run_id"].isin(run_ids), readings].sort_values(["run_id", "step"]).groupby("run_id"))
        )
        for frame in (expected, found)
    )
    return {
        run_id
        for run_id in run_ids
        if run_id not in one
        or run_id not in other
        or not one[run_id].reset_index(drop=True).equals(other[run_id].reset_index(drop=True))
    }
