"""Which row of a run stands in the table where several attempts wrote one, or several folders hold it.

One that did not fail before one that did, then the one with the most steps, then the earliest finished. What decides
is read once from every file of rows and kept; a query then leaves out the rows that lost, most often none.

A sweep is a folder, and a copy of a folder is a sweep of its own when it is asked for by its name. Over several sweeps
an attempt at a run counts in one: the one whose name its row carries, else the first by name. Two sweeps that each
trained a run have two attempts at it, and both count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from grok_sweeps.results.files import File
from grok_sweeps.results.views import read_files
from grok_sweeps.store.objects import ObjectInfo

_KEPT = """
    CREATE SCHEMA grok_sweeps;
    CREATE TABLE grok_sweeps.keys (
        file BIGINT, place BIGINT, sweep VARCHAR, other_name VARCHAR, run_id VARCHAR, attempt VARCHAR,
        failed BOOLEAN, steps_run BIGINT, finished_at TIMESTAMP WITH TIME ZONE)"""
PLACED = "filename = true, file_row_number = true"
"""What `read_parquet` is told to say from where each row is."""
_HOME = "first_value(sweep) OVER (PARTITION BY run_id, attempt ORDER BY other_name IS NOT NULL, sweep)"
_RANKED = """
    SELECT file, place, sweep, run_id, attempt, {home} AS home, row_number() OVER (
        PARTITION BY sweep, run_id ORDER BY failed, steps_run DESC, finished_at, attempt) AS rank
    FROM grok_sweeps.keys WHERE file IN (SELECT unnest(?::BIGINT[]))"""


@dataclass(frozen=True, slots=True)
class Copy:
    """A sweep that holds runs by the same attempts as another, in which they count."""

    sweep: str
    of: str
    n_runs: int


@dataclass(frozen=True)
class Lost:
    """Rows that do not stand in the table of their sweep: path of the file and place in it.

    `copied` are sweep, run_id and attempt of rows that count in another sweep, told by `copies`; `renamed` sweeps have
    rows that carry another name.
    """

    rows: tuple[tuple[str, int], ...] = ()
    copied: pa.Table | None = None
    copies: tuple[Copy, ...] = ()
    renamed: frozenset[str] = frozenset()

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
        self._renamed: set[int] = set()
        self._lost: dict[frozenset[str], tuple[list[int], Lost]] = {}

    def lost(self, sweeps: Iterable[str], files: Sequence[File]) -> Lost:
        """The rows that lost; `files` are all files of rows that the folders `sweeps` have."""
        scope = frozenset(sweeps)
        self._forget(scope, files)
        self._learn([file for file in files if file.info not in self._ids])
        ids = [self._ids[file.info] for file in files]
        known = self._lost.get(scope)
        if known is None or known[0] != ids:
            self._lost[scope] = known = ids, self._find_lost(files, ids)
        return known[1]

    def winners(self, files: Sequence[File], run_ids: Sequence[str] | None = None) -> pa.Table:
        """Columns sweep, run_id and attempt of the rows of `files` that stand in the table; of some runs, or of all."""
        some = "" if run_ids is None else "AND run_id IN (SELECT unnest(?::VARCHAR[]))"
        given: list[list[int] | list[str]] = [[self._ids[file.info] for file in files]]
        given += [] if run_ids is None else [list(run_ids)]
        ranked = f"SELECT sweep, run_id, attempt FROM ({_ranked(files)} {some}) WHERE rank = 1 AND home = sweep"
        return self._database.sql(ranked, params=given).to_arrow_table()

    def _find_lost(self, files: Sequence[File], ids: Sequence[int]) -> Lost:
        paths = dict(zip(ids, (file.path for file in files), strict=True))
        renamed = frozenset(file.sweep for file, k in zip(files, ids, strict=True) if k in self._renamed)
        found = f"SELECT * FROM ({_ranked(files)}) WHERE rank > 1 OR home <> sweep"
        lost = self._database.sql(found, params=[list(ids)]).to_arrow_table()
        if not len(lost):
            return Lost(renamed=renamed)
        self._database.register("grok_sweeps_lost", lost)
        rows = self._database.sql("SELECT file, place FROM grok_sweeps_lost WHERE rank > 1").fetchall()
        away = "FROM grok_sweeps_lost WHERE home <> sweep"
        copies = self._database.sql(
            f"SELECT sweep, home, count(DISTINCT run_id) {away} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        copied = self._database.sql(f"SELECT DISTINCT sweep, run_id, attempt {away}").to_arrow_table()
        self._database.unregister("grok_sweeps_lost")
        return Lost(
            tuple((paths[file], place) for file, place in rows),
            copied if copies else None,
            tuple(Copy(*row) for row in copies),
            renamed,
        )

    def _forget(self, scope: frozenset[str], files: Sequence[File]) -> None:
        there = {file.info for file in files}
        gone = [info for info in self._ids if info not in there and info.name.partition("/")[0] in scope]
        if gone:
            ids = [self._ids.pop(info) for info in gone]
            self._database.execute("DELETE FROM grok_sweeps.keys WHERE file IN (SELECT unnest(?::BIGINT[]))", [ids])
            self._renamed.difference_update(ids)

    def _learn(self, new: Sequence[File]) -> None:
        if not new:
            return
        ids = range(self._next, self._next + len(new))
        given = {"path": [file.path for file in new], "folder": [file.sweep for file in new]}
        self._database.register("grok_sweeps_new", pa.table({"id": pa.array(ids, pa.int64()), **given}))
        read = read_files(new, PLACED)
        self._database.execute(
            f"""INSERT INTO grok_sweeps.keys
                SELECT id, file_row_number, folder, nullif(sweep, folder), run_id, attempt, outcome = 'failed',
                       steps_run, finished_at
                FROM ({read}) JOIN grok_sweeps_new ON path = filename"""
        )
        self._database.unregister("grok_sweeps_new")
        renamed = "SELECT DISTINCT file FROM grok_sweeps.keys WHERE file >= ? AND other_name IS NOT NULL"
        self._renamed |= {file for (file,) in self._database.execute(renamed, [ids[0]]).fetchall()}
        self._ids |= {file.info: k for file, k in zip(new, ids, strict=True)}
        self._next += len(new)


def _ranked(files: Sequence[File]) -> str:
    """SQL of the rows with their rank in their sweep and the sweep in which they count."""
    several = len({file.sweep for file in files}) > 1
    return _RANKED.format(home=_HOME if several else "sweep")
