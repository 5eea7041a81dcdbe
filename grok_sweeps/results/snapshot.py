"""One reading of the store: the views over the files that were there when it was listed.

Rows are listed before curves, and a worker writes curves before rows, so every row that is read has its curve. A file
may go between the listing and the query (compaction, a deleted sweep); then the store is listed again. Where folders
are copies of each other or have been renamed, a warning says what counts.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import duckdb
import pyarrow as pa

from grok_sweeps.errors import QueryError, StoreWarning
from grok_sweeps.results.curve_files import Split, all_as_others, may_hold, named_by, split
from grok_sweeps.results.files import File, FileGoneError, Files
from grok_sweeps.results.merged import Merged, Merger
from grok_sweeps.results.views import cells_query, curves_view, own_runs_view, read_files, runs_view, sweeps_view
from grok_sweeps.results.winners import Lost, Winners
from grok_sweeps.store import ObjectInfo, ObjectStore, SweepStore
from grok_sweeps.store.agreement import warn_of_name
from grok_sweeps.store.compact import is_compact
from grok_sweeps.store.layout import Layout

T = TypeVar("T")
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]

_LISTINGS = 3
"""Times a query is tried whose files go while it runs."""


class Reader:
    """What is kept between queries: files that were checked, which rows won, the last cells. Safe between threads."""

    def __init__(self, objects: ObjectStore, threads: int | None = None) -> None:
        self.objects, self.files = objects, Files(objects)
        self.database = duckdb.connect(config={} if threads is None else {"threads": threads})
        self.database.execute("SET temp_directory = $folder", {"folder": self._spill_folder()})
        self._winners, self._merger = Winners(self.session()), Merger(self.session())
        self._cells: dict[frozenset[str], tuple[frozenset[File], pa.Table]] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def session(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the database, which gives times in UTC and reads the end of a file once."""
        connection = self.database.cursor()
        connection.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
        return connection

    def rows(self, sweeps: Iterable[str], rows: Sequence[File]) -> tuple[Merged, Lost]:
        """What to read in place of these files of rows, and the rows that do not stand in the table."""
        with self._lock:
            merged = self._merger.merged(rows)
            self.files.write(merged.files)
            lost = self._winners.lost(sweeps, merged)
            renamed = lost.renamed - {copy.sweep for copy in lost.copies} - self._told
            self._told |= renamed
        for sweep in sorted(renamed):
            warn_of_name(SweepStore(self.objects, sweep))
        for copy in lost.copies:
            warnings.warn(
                f"sweep '{copy.sweep}' holds {copy.n_runs:,} runs by the same attempts as sweep '{copy.of}', as a copy "
                f"does. `export {copy.sweep}` or `runs('{copy.sweep}')` shows them; in SQL over all sweeps they are "
                f"those of '{copy.of}'. Move one of the two out of the store.",
                StoreWarning,
                stacklevel=1,
            )
        return merged, lost

    def winners(self, sweeps: Iterable[str], merged: Merged, run_ids: Sequence[str] | None) -> pa.Table:
        """Columns sweep, run_id, attempt of the rows that stand in the table."""
        with self._lock:
            self._winners.lost(sweeps, merged)
            return self._winners.winners(merged.rows, run_ids)

    def cells(self, sweeps: Iterable[str], rows: Sequence[File], compute: Callable[[], pa.Table]) -> pa.Table:
        """The cells of these rows, computed once for as long as the rows are the same."""
        scope, there = frozenset(sweeps), frozenset(rows)
        with self._lock:
            known = self._cells.get(scope)
        if known is None or known[0] != there:
            known = there, compute()
            with self._lock:
                self._cells[scope] = known
        return known[1]

    def _spill_folder(self) -> str:
        """A folder of this process's own for what does not fit in memory; empty, for none, where none can be made."""
        try:
            folder = tempfile.mkdtemp(prefix="grok-sweeps-duckdb-")
        except OSError:
            return ""
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder


class Snapshot:
    """The views over some sweeps of a store; of them it makes those that a query speaks of, anew for each."""

    def __init__(self, reader: Reader, sweeps: Sequence[str], run_ids: Sequence[str] | None = None) -> None:
        """With `run_ids` the view `curves` is of these runs alone, and only files they may be in are read."""
        self._reader, self._sweeps, self._run_ids = reader, list(sweeps), run_ids
        self._layouts = [Layout(name) for name in sweeps]

    def arrow(self, query: str, parameters: Parameters = ()) -> pa.Table:
        """Run a query, as Arrow.

        Raises:
            QueryError: what DuckDB has against it, in one line.
        """
        return self.read(query, parameters, lambda answer: answer.to_arrow_table())

    def read(self, query: str, parameters: Parameters, use: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        """Run a query and `use` its answer, again from the start where a file is gone by then.

        Raises:
            QueryError: what DuckDB has against it, in one line.
        """
        for _ in range(_LISTINGS):
            try:
                connection = self._reader.session()
                self._define_views(connection, query)
                answer = connection.sql(query, params=parameters or None)
                if answer is None:
                    raise QueryError(
                        "the query gives no table; write SELECT over the views runs, cells, curves and sweeps."
                    )
                return use(answer)
            except FileGoneError as error:
                gone = error
            except duckdb.IOException as error:
                gone = FileGoneError(str(_query_error(error)))
            except (duckdb.Error, pa.ArrowException) as error:
                raise _query_error(error) from None
        raise QueryError(str(gone))

    def _define_views(self, connection: duckdb.DuckDBPyConnection, query: str) -> None:
        asked = {word for word in ("curves", "cells", "sweeps") if re.search(rf"\b{word}\b", query, re.IGNORECASE)}
        rows = self._reader.files.read(self._listed(layout.rows for layout in self._layouts), packed=True)
        merged, lost = self._reader.rows(self._sweeps, rows)
        if lost.rows:
            paths, places = zip(*lost.rows, strict=True)
            _keep(connection, "lost", pa.table({"path": paths, "place": pa.array(places, pa.int64())}))
        touched = merged.of(lost.paths())
        others = set(merged.files).difference(touched)
        untouched = [file for file in merged.files if file in others]
        connection.execute(own_runs_view(untouched, lost.renamed, merged.placed(touched, lost.renamed)))
        if lost.copied is not None:
            _keep(connection, "copied", lost.copied)
        connection.execute(runs_view(copied=lost.copied is not None))
        plans = self._reader.files.read(self._plans()) if "sweeps" in asked else []
        connection.execute(sweeps_view(plans))
        self._define_curves(connection, merged, lost, "curves" in asked)
        if "cells" in asked:
            table = self._reader.cells(self._sweeps, rows, lambda: connection.sql(cells_query()).to_arrow_table())
            connection.register("cells", table)
        else:
            connection.execute(f"CREATE OR REPLACE TEMP VIEW cells AS {cells_query()}")

    def _define_curves(self, connection: duckdb.DuckDBPyConnection, merged: Merged, lost: Lost, asked: bool) -> None:
        if not asked:
            connection.execute(curves_view([]))
            return
        infos, files = self._listed(layout.curves for layout in self._layouts), self._reader.files
        winners: pa.Table | None = None
        if self._run_ids is None:
            found = split(files.read(infos), merged.rows, lost)
        else:
            winners = self._reader.winners(self._sweeps, merged, self._run_ids)
            said = files.said_to_hold([info for info in infos if is_compact(info.name)])
            wanted = may_hold(infos, said, set(winners["attempt"].to_pylist())) if len(winners) else []
            found = all_as_others(files.read(wanted))
        whole, others, doubled = list(found.whole), list(found.others), list[File]()
        if others:
            if winners is None:
                winners = self._reader.winners(self._sweeps, merged, None)
            _keep(connection, "winners", winners)
            counted = set(winners["sweep"].unique().to_pylist())
            others = [file for file in others if file.sweep in counted]
            paths = _find_doubled(connection, found, lost.renamed)
            doubled = [file for file in (*whole, *others) if file.path in paths]
            whole, others = ([file for file in some if file.path not in paths] for some in (whole, others))
        connection.execute(curves_view(whole, others, doubled, lost.renamed))

    def _listed(self, folders: Iterable[str]) -> list[ObjectInfo]:
        return [info for folder in folders for info in self._reader.objects.list(folder)]

    def _plans(self) -> list[ObjectInfo]:
        """The plans, which never change; that one is there is known from its spec."""
        return [ObjectInfo(layout.plan, 0, 0.0) for layout in self._layouts]


def _find_doubled(connection: duckdb.DuckDBPyConnection, found: Split, renamed: Collection[str]) -> frozenset[str]:
    """Make the table `doubled`: readings that a file holds and another one too, from which they are read.

    Returns the paths of the files in it.
    """
    if not found.strays:
        return frozenset()

    def held(files: Sequence[File], of: str) -> pa.Table:
        read = read_files(files, "filename = true", renamed)
        one = f"SELECT DISTINCT filename, sweep, run_id, attempt FROM ({read})"
        return connection.sql(f"{one} SEMI JOIN {of} USING (sweep, run_id, attempt)").to_arrow_table()

    _keep(connection, "strays", held(found.strays, "winners"))
    attempts = connection.execute("SELECT DISTINCT sweep, attempt FROM strays").fetchall()
    strays = set(found.strays)
    others = named_by((file for file in (*found.whole, *found.others) if file not in strays), set(attempts))
    if others:
        _keep(connection, "beside", held(others, "strays"))
    beside = "UNION ALL SELECT *, false FROM beside" if others else ""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE doubled AS SELECT filename, run_id, attempt FROM (
            SELECT *, row_number() OVER (PARTITION BY sweep, run_id, attempt ORDER BY stray, filename) AS place
            FROM (SELECT *, true AS stray FROM strays {beside})) WHERE place > 1"""
    )
    paths = connection.execute("SELECT DISTINCT filename FROM doubled").fetchall()
    return frozenset(path for (path,) in paths)


def _keep(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Make a temporary table, which outlives what it is made of."""
    connection.register(f"{name}_given", table)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {name}_given")
    connection.unregister(f"{name}_given")


def _query_error(error: Exception) -> QueryError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return QueryError(f"query: {' '.join(lines[:2])}")
