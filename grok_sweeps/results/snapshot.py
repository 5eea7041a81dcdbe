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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import duckdb
import pyarrow as pa

from grok_sweeps.errors import QueryError, StoreWarning
from grok_sweeps.results.curve_files import CurveIndex, Split, may_hold
from grok_sweeps.results.files import File, FileGoneError, Files
from grok_sweeps.results.views import (
    cells_query,
    curves_under_way_view,
    curves_view,
    empty_view,
    own_runs,
    read_files,
    runs_view,
    sweeps_view,
)
from grok_sweeps.results.winners import PLACED, Lost, Winners
from grok_sweeps.schema import VIEWS
from grok_sweeps.store import ObjectInfo, ObjectStore, SweepStore
from grok_sweeps.store.agreement import warn_of_name
from grok_sweeps.store.compact import is_compact
from grok_sweeps.store.layout import Layout
from grok_sweeps.store.segments import at_work, covers

T = TypeVar("T")
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]

_LISTINGS = 10
"""Times a query is tried whose files go while it runs; what was read is not read again."""


class Reader:
    """What is kept between queries: files that were checked, which rows won, the last cells. Safe between threads."""

    def __init__(self, objects: ObjectStore, threads: int | None = None) -> None:
        self.objects, self.files = objects, Files(objects)
        self.database = duckdb.connect(config={} if threads is None else {"threads": threads})
        self.database.execute("SET temp_directory = $folder", {"folder": self._spill_folder()})
        self._winners, self._curves = Winners(self.session()), CurveIndex(self.session())
        self._cells: dict[frozenset[str], tuple[frozenset[File], pa.Table]] = {}
        self._split: dict[frozenset[str], tuple[frozenset[File], Split, pa.Table]] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def session(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the database, which gives times in UTC and reads the end of a file once."""
        connection = self.database.cursor()
        connection.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
        return connection

    def lost(self, sweeps: Iterable[str], rows: Sequence[File]) -> Lost:
        """The rows in these files that do not stand in the table."""
        with self._lock:
            lost = self._winners.lost(sweeps, rows)
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
        return lost

    def winners(self, sweeps: Iterable[str], rows: Sequence[File], run_ids: Sequence[str] | None) -> pa.Table:
        """Columns sweep, run_id, attempt of the rows that stand in the table."""
        with self._lock:
            self._winners.lost(sweeps, rows)
            return self._winners.winners(rows, run_ids)

    def curves(self, sweeps: Iterable[str], rows: Sequence[File], curves: Sequence[File]) -> tuple[Split, pa.Table]:
        """Curve files by what of them counts, and what won among the rows; computed once for as long as they are there.

        `rows` and `curves` are all files of the sweeps.
        """
        scope, there = frozenset(sweeps), frozenset((*rows, *curves))
        with self._lock:
            known = self._split.get(scope)
            if known is None or known[0] != there:
                self._winners.lost(sweeps, rows)
                winners = self._winners.winners(rows)
                known = self._split[scope] = there, self._curves.split(curves, winners), winners
            return known[1:]

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
        asked = {view for view in VIEWS if re.search(rf"\b{view}\b", query, re.IGNORECASE)}
        for view in VIEWS.keys() - asked:
            connection.execute(empty_view(view, VIEWS[view]))
        rows = self._reader.files.read(self._listed(layout.rows for layout in self._layouts))
        lost = self._reader.lost(self._sweeps, rows)
        if lost.rows:
            paths, places = zip(*lost.rows, strict=True)
            _keep(connection, "lost", pa.table({"path": paths, "place": pa.array(places, pa.int64())}))
        touched = lost.paths()
        untouched = [file for file in rows if file.path not in touched]
        placed = read_files([file for file in rows if file.path in touched], PLACED, lost.renamed)
        own = own_runs(untouched, lost.renamed, placed)
        if lost.copied is not None:
            _keep(connection, "copied", lost.copied)
        if asked & {"runs", "cells"}:
            connection.execute(runs_view(own, copied=lost.copied is not None))
        if "sweeps" in asked:
            connection.execute(sweeps_view(self._reader.files.read(self._plans()), own))
        if "curves" in asked:
            connection.execute(curves_view(self._curves(connection, rows), lost.renamed))
        if "curves_under_way" in asked:
            connection.execute(curves_under_way_view(self._written_of_late(), own, lost.renamed))
        if "cells" in asked:
            table = self._reader.cells(self._sweeps, rows, lambda: connection.sql(cells_query()).to_arrow_table())
            connection.register("cells", table)

    def _curves(self, connection: duckdb.DuckDBPyConnection, rows: Sequence[File]) -> Split:
        """The curve files of the runs that are asked for; makes the table `winners` where some are to be left out."""
        infos, files = self._listed(layout.curves for layout in self._layouts), self._reader.files
        if self._run_ids is None:
            split, winners = self._reader.curves(self._sweeps, rows, files.read(infos))
        else:
            winners = self._reader.winners(self._sweeps, rows, self._run_ids)
            said = files.said_to_hold([info for info in infos if is_compact(info.name)])
            wanted = may_hold(infos, said, set(winners["attempt"].to_pylist())) if len(winners) else []
            split = Split([], doubled=files.read(wanted))
        if split.others or split.doubled:
            _keep(connection, "winners", winners)
        return split

    def _written_of_late(self) -> list[File]:
        """The curve files of attempts that have written lately."""
        infos = list(self._listed(layout.curves for layout in self._layouts))
        writers = at_work(infos, self._reader.objects.server_time())
        wanted = [i for i in infos if (held := covers(i.name)) is not None and held.writer in writers]
        return self._reader.files.read(wanted)

    def _listed(self, folders: Iterable[str]) -> list[ObjectInfo]:
        return [info for folder in folders for info in self._reader.objects.list(folder)]

    def _plans(self) -> list[ObjectInfo]:
        """The plans, which never change; that one is there is known from its spec."""
        return [ObjectInfo(layout.plan, 0, 0.0) for layout in self._layouts]


def _keep(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Make a temporary table, which outlives what it is made of."""
    connection.register(f"{name}_given", table)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {name}_given")
    connection.unregister(f"{name}_given")


def _query_error(error: Exception) -> QueryError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return QueryError(f"query: {' '.join(lines[:2])}")
