"""What a tracker of experiments is, and what of a row it is given.

One run of the tracker is one training run: config columns are parameters, numbers of the outcome are metrics, the
readings are metrics over steps, and what is left in words are tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa

from grok_sweeps.schema import AT_GROK, CONFIG, IDENTITY, OUTCOME, PROVENANCE, READING_NAMES, RESOLVED

Row = Mapping[str, Any]
Version = tuple[str, int]
"""A row's outcome and steps: a longer budget, or another try of a run that failed, makes another."""

_RESULTS = (*OUTCOME, *RESOLVED, *AT_GROK, *PROVENANCE)
MOST_CHARACTERS = 500
"""Of a text; MLflow's servers refuse a tag beyond some thousands."""


class Tracker(Protocol):
    """Keeps runs elsewhere."""

    def logged(self) -> Mapping[str, Version]:
        """The run_ids that it has whole, with the version of their row."""

    def log(self, row: Row, curve: pa.Table) -> None:
        """Keep a run with its readings, in the place of what it has of it."""


def version(row: Row) -> Version:
    """Which of a run's rows this is."""
    return str(row["outcome"]), int(row["steps_run"])


def parameters(row: Row) -> dict[str, Any]:
    """The config columns that the run uses."""
    return {c.name: row[c.name] for c in CONFIG if row[c.name] is not None}


def numbers(row: Row) -> dict[str, float]:
    """The outcome in numbers."""
    return {
        c.name: row[c.name]
        for c in _RESULTS
        if isinstance(row[c.name], int | float) and not isinstance(row[c.name], bool)
    }


def words(row: Row) -> dict[str, str]:
    """Identity, and the outcome in words."""
    return {c.name: row[c.name][:MOST_CHARACTERS] for c in (*IDENTITY, *_RESULTS) if isinstance(row[c.name], str)}


def readings(curve: pa.Table) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and readings, in order, without those that the architecture has not."""
    for row in curve.select(["step", *READING_NAMES]).sort_by("step").to_pylist():
        step = row.pop("step")
        yield step, {name: value for name, value in row.items() if value is not None}
