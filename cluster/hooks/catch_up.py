"""Brings a tracker up to the rows of a sweep: what it lacks is logged, however it came to lack it.

It reads the store alone, so it makes no difference whether a run has just ended, was trained by another driver, or
could not be logged before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow.compute as pc

from grok_sweeps.cluster.hooks.tracker import Tracker, Version, version
from grok_sweeps.results import Store

AT_ONCE = 20
"""Runs whose curves are in memory."""


class CatchUp:
    """The runs of one sweep and what of them a tracker has."""

    def __init__(self, store: Store, sweep: str, open_tracker: Callable[[], Tracker]) -> None:
        self._store, self._sweep, self._open = store, sweep, open_tracker
        self._tracker: Tracker | None = None
        self._logged: dict[str, Version] = {}
        self.missing = 0
        self.rows = 0

    def log_what_is_missing(self) -> None:
        """Log what the tracker lacks, oldest first; `missing` counts down, and stays where the tracker fails."""
        tracker = self._tracker
        if tracker is None:
            tracker = self._open()
            self._logged = dict(tracker.logged())
            self._tracker = tracker
        found = self._query("SELECT run_id, outcome, steps_run FROM runs ORDER BY finished_at, run_id")
        new = [row["run_id"] for row in found if self._logged.get(row["run_id"]) != version(row)]
        self.rows, self.missing = len(found), len(new)
        for k in range(0, len(new), AT_ONCE):
            for row, curve in self._runs(new[k : k + AT_ONCE]):
                tracker.log(row, curve)
                self._logged[row["run_id"]] = version(row)
                self.missing -= 1

    def _runs(self, run_ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], Any]]:
        condition = "WHERE run_id IN (SELECT unnest(?))"
        curves = self._store.snapshot(self._sweep, run_ids).arrow(f"FROM curves {condition}", [list(run_ids)])
        rows = {row["run_id"]: row for row in self._query(f"SELECT * FROM runs {condition}", [list(run_ids)])}
        for run_id in run_ids:
            if run_id in rows:
                yield rows[run_id], curves.filter(pc.equal(curves["run_id"], run_id))

    def _query(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._store.snapshot(self._sweep).arrow(query, parameters).to_pylist()
        return rows
