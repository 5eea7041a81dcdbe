"""Which curve files a query has to read, and in which some readings are to be left out.

Curves are written while their runs train. So a file may hold readings of runs that have no row yet, of attempts that
were lost, and, after a sync tool or two compactions at once, readings that another file holds too. `CurveIndex` keeps
which readings each file has. For a few runs names are enough: a segment is named by its attempt, and of a compact file
the names it holds are asked. A name that tells nothing may hold any run's curve.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from grok_sweeps.results.files import File
from grok_sweeps.results.views import read_files
from grok_sweeps.store.compact import is_compact
from grok_sweeps.store.objects import ObjectInfo
from grok_sweeps.store.segments import covers

_KEPT = """
    CREATE TABLE grok_sweeps.curve_keys (
        file BIGINT, sweep VARCHAR, run_id VARCHAR, attempt VARCHAR, first BIGINT, last BIGINT)"""


@dataclass(frozen=True)
class Split:
    """Curve files: of `whole` ones all readings are of rows in the table, and in no other file; of the `others` not.

    Of those that are `doubled` another file holds some readings too.
    """

    whole: Sequence[File]
    others: Sequence[File] = ()
    doubled: Sequence[File] = ()


class CurveIndex:
    """Which attempts at which runs each curve file has readings of. Not safe between threads: its owner has a lock."""

    def __init__(self, session: duckdb.DuckDBPyConnection) -> None:
        self._database = session
        self._database.execute(_KEPT)
        self._ids: dict[ObjectInfo, int] = {}
        self._next = 0

    def split(self, files: Sequence[File], winners: pa.Table) -> Split:
        """Sort curve files by what has to be looked at.

        Args:
            files: all curve files of their sweeps.
            winners: columns sweep, run_id, attempt of the rows that stand in the table.
        """
        self._forget(files)
        self._learn([file for file in files if file.info not in self._ids])
        by_id = {self._ids[file.info]: file for file in files}
        self._database.register("grok_sweeps_winners", winners)
        wins = "JOIN grok_sweeps_winners USING (sweep, run_id, attempt)"
        others = self._found(f"SELECT DISTINCT file FROM asked ANTI {wins}", by_id)
        doubled = self._found(
            """SELECT DISTINCT unnest([one.file, two.file]) FROM several AS one JOIN several AS two
                    ON one.sweep = two.sweep AND one.run_id = two.run_id AND one.attempt = two.attempt
                    AND one.file < two.file AND one.first <= two.last AND two.first <= one.last""",
            by_id,
            f"""winning AS (SELECT * FROM asked SEMI {wins}),
                keys AS (SELECT sweep, run_id, attempt FROM winning GROUP BY ALL HAVING count(*) > 1),
                several AS (SELECT * FROM winning SEMI JOIN keys USING (sweep, run_id, attempt))""",
        )
        self._database.unregister("grok_sweeps_winners")
        return Split(
            [file for k, file in by_id.items() if k not in others and k not in doubled],
            [file for k, file in by_id.items() if k in others and k not in doubled],
            [file for k, file in by_id.items() if k in doubled],
        )

    def _found(self, query: str, asked: Collection[int], tables: str = "") -> set[int]:
        """The ids of files that a query gives, which speaks of the keys of `asked` files."""
        first = "asked AS (SELECT * FROM grok_sweeps.curve_keys WHERE file IN (SELECT unnest(?::BIGINT[])))"
        found = self._database.execute(f"WITH {first}{tables and ', '}{tables} {query}", [list(asked)])
        return {file for (file,) in found.fetchall()}

    def _forget(self, files: Sequence[File]) -> None:
        there, sweeps = {file.info for file in files}, {file.sweep for file in files}
        gone = [info for info in self._ids if info not in there and info.name.partition("/")[0] in sweeps]
        if gone:
            ids = [self._ids.pop(info) for info in gone]
            given = "file IN (SELECT unnest(?::BIGINT[]))"
            self._database.execute(f"DELETE FROM grok_sweeps.curve_keys WHERE {given}", [ids])

    def _learn(self, new: Sequence[File]) -> None:
        if not new:
            return
        ids = range(self._next, self._next + len(new))
        given = {"path": [file.path for file in new], "folder": [file.sweep for file in new]}
        self._database.register("grok_sweeps_new", pa.table({"id": pa.array(ids, pa.int64()), **given}))
        self._database.execute(
            f"""INSERT INTO grok_sweeps.curve_keys
                SELECT id, folder, run_id, attempt, min(step), max(step)
                FROM ({read_files(new, "filename = true")}) JOIN grok_sweeps_new ON path = filename GROUP BY ALL"""
        )
        self._database.unregister("grok_sweeps_new")
        self._ids |= {file.info: k for file, k in zip(new, ids, strict=True)}
        self._next += len(new)


def may_hold(
    infos: Iterable[ObjectInfo], said: Mapping[ObjectInfo, Collection[str]], attempts: Collection[str]
) -> list[ObjectInfo]:
    """The curve files in which readings of `attempts` may be; `said` is what compact ones say they hold."""
    if any("-" in attempt for attempt in attempts):
        return list(infos)
    wanted = {*attempts, None}
    return [
        info
        for info in infos
        if any(_attempt(name) in wanted for name in (said.get(info, ("",)) if is_compact(info.name) else (info.name,)))
    ]


def _attempt(name: str) -> str | None:
    held = None if is_compact(name) else covers(name)
    return None if held is None else held.attempt
