"""Which row of a run stands in the table where several attempts wrote one.

One that did not fail before one that did, then the one with the most steps, then the earliest finished. What decides
is read once from every file of rows and kept; a query then leaves out the rows that lost, most often none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from grok_sweeps.results.files import File
from grok_sweeps.results.merged import Merged
from grok_sweeps.store.objects import ObjectInfo

_KEPT = """
    CREATE SCHEMA grok_sweeps;
    CREATE TABLE grok_sweeps.keys (
        file BIGINT, place BIGINT, sweep VARCHAR, run_id VARCHAR, attempt VARCHAR,
        failed BOOLEAN, steps_run BIGINT, finished_at TIMESTAMP WITH TIME ZONE)"""
_RANKED = """
    SELECT file, place, sweep, run_id, attempt, row_number() OVER (
        PARTITION BY sweep, run_id ORDER BY failed, steps_run DESC, finished_at, attempt) AS rank
    FROM grok_sweeps.keys WHERE file IN (SELECT unnest(?::BIGINT[]))"""


@dataclass(frozen=True)
class Lost:
    """Rows that do not stand in the table: path of the file and place in it; and the attempts that wrote them."""

    rows: tuple[tuple[str, int], ...] = ()
    attempts: frozenset[str] = frozenset()

    def paths(self) -> frozenset[str]:
        """The files that have such rows."""
        return frozenset(path for path, _ in self.rows)


class Winners:
    """What decides between the rows of a run. Not safe between threads: its owner holds a lock."""

    def __init__(self, session: duckdb.DuckDBPyConnection) -> None:
        self._database = session
        self._database.execute(_KEPT)
        self._ids: dict[ObjectInfo, int] = {}
        self._next = 0
        self._lost: dict[frozenset[str], tuple[list[int], Lost]] = {}

    def lost(self, sweeps: Iterable[str], merged: Merged) -> Lost:
        """The rows that lost; `merged` are all files of rows that the folders `sweeps` have."""
        scope, files = frozenset(sweeps), merged.rows
        self._forget(scope, files)
        self._learn([file for file in files if file.info not in self._ids], merged)
        ids = [self._ids[file.info] for file in files]
        known = self._lost.get(scope)
        if known is None or known[0] != ids:
            paths = dict(zip(ids, (file.path for file in files), strict=True))
            found = self._database.execute(f"SELECT file, place, attempt FROM ({_RANKED}) WHERE rank > 1", [ids])
            rows = found.fetchall()
            lost = Lost(tuple((paths[file], place) for file, place, _ in rows), frozenset(row[2] for row in rows))
            self._lost[scope] = known = ids, lost
        return known[1]

    def winners(self, files: Sequence[File], run_ids: Sequence[str] | None = None) -> pa.Table:
        """Columns sweep, run_id and attempt of the rows of `files` that stand in the table; of some runs, or of all."""
        some = "" if run_ids is None else "AND run_id IN (SELECT unnest(?::VARCHAR[]))"
        given: list[list[int] | list[str]] = [[self._ids[file.info] for file in files]]
        given += [] if run_ids is None else [list(run_ids)]
        ranked = f"SELECT sweep, run_id, attempt FROM ({_RANKED} {some}) WHERE rank = 1"
        return self._database.sql(ranked, params=given).to_arrow_table()

    def _forget(self, scope: frozenset[str], files: Sequence[File]) -> None:
        there = {file.info for file in files}
        gone = [info for info in self._ids if info not in there and info.name.partition("/")[0] in scope]
        if gone:
            ids = [self._ids.pop(info) for info in gone]
            self._database.execute("DELETE FROM grok_sweeps.keys WHERE file IN (SELECT unnest(?::BIGINT[]))", [ids])

    def _learn(self, new: Sequence[File], merged: Merged) -> None:
        if not new:
            return
        ids = range(self._next, self._next + len(new))
        numbered = pa.table({"id": pa.array(ids, pa.int64()), "path": [file.path for file in new]})
        self._database.register("grok_sweeps_new", numbered)
        read = merged.placed(merged.of({file.path for file in new}))
        self._database.execute(
            f"""INSERT INTO grok_sweeps.keys
                SELECT id, file_row_number, sweep, run_id, attempt, outcome = 'failed', steps_run, finished_at
                FROM ({read}) JOIN grok_sweeps_new ON path = filename"""
        )
        self._database.unregister("grok_sweeps_new")
        self._ids |= {file.info: k for file, k in zip(new, ids, strict=True)}
        self._next += len(new)
