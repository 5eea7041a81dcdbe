"""`open_store(uri)`: the store as a researcher sees it, in pandas, Arrow or SQL.

Each call lists the store anew and reads a consistent set of finished runs, so a sweep may be queried while it runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from grok_sweeps.errors import QueryError, did_you_mean
from grok_sweeps.results.files import FileGoneError, Files
from grok_sweeps.results.views import cells_view, curves_view, runs_view, sweeps_view
from grok_sweeps.store import ObjectInfo, ObjectStore, SweepStore, open_objects
from grok_sweeps.store.layout import Layout
from grok_sweeps.store.objects import for_each

_LISTINGS = 3
"""Times a query is tried whose files go while it runs."""


def open_store(uri: str) -> Store:
    """Open the store at `uri` (a path, `file://`, `s3://`) to read it; nothing is written and it need not exist yet."""
    return Store(open_objects(uri))


class Store:
    """All sweeps of one store."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.uri = objects.uri
        self._files = Files(objects)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def sweep_names(self) -> list[str]:
        """Names of the sweeps in the store."""
        folders = list(self.objects.folders())
        known = for_each(self.objects, lambda name: SweepStore(self.objects, name).exists(), folders)
        return [name for name, exists in zip(folders, known, strict=True) if exists]

    def sweep(self, name: str) -> SweepStore:
        """One sweep's objects.

        Raises:
            QueryError: no sweep of that name.
        """
        found = SweepStore(self.objects, name)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not found.exists():
            names = self.sweep_names()
            listing = f"Sweeps there: {', '.join(names)}." if names else "It holds no sweep yet."
            raise QueryError(f"no sweep '{name}' in {self.uri}.{did_you_mean(name, names)} {listing}")
        return found

    def runs(self, sweep: str | None = None) -> pd.DataFrame:
        """Finished runs, one row a run (columns: `schema.RUN_COLUMNS`), of one sweep or of all."""
        return self._view("runs", sweep, "sweep, p, arm, rho, tau, seed")

    def cells(self, sweep: str | None = None) -> pd.DataFrame:
        """Counts, medians and means of each cell."""
        return self._view("cells", sweep, "sweep, p, arm, rho, tau")

    def curves(self, sweep: str | None = None, run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Readings over time (columns: `schema.CURVE_COLUMNS`), of one sweep, of some runs, or of all."""
        return self._view("curves", sweep, "sweep, run_id, step", run_ids)

    def sweeps(self) -> pd.DataFrame:
        """One row a sweep: planned and finished runs, steps, times."""
        return self._view("sweeps", None, "sweep")

    def sql(self, query: str) -> pd.DataFrame:
        """Answer a DuckDB query over the views runs, cells, curves and sweeps, as pandas.

        Raises:
            QueryError: what DuckDB has against the query, in one line.
        """
        return self.connect().execute_df(query)

    def arrow(self, query: str) -> pa.Table:
        """As `sql`, but an Arrow table."""
        return self.connect().execute_arrow(query)

    def connect(self, sweep: str | None = None) -> _Connection:
        """A DuckDB connection with the views over the store as it is now, of one sweep or of all."""
        names = self.sweep_names() if sweep is None else [self.sweep(sweep).sweep]
        return _Connection(self._files, self.objects, [Layout(name) for name in names])

    def _view(self, view: str, sweep: str | None, order: str, run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        condition = "" if run_ids is None else "WHERE run_id IN (SELECT unnest(?))"
        parameters = [] if run_ids is None else [list(run_ids)]
        return self.connect(sweep).execute_df(f"SELECT * FROM {view} {condition} ORDER BY {order}", parameters)


class _Connection:
    """A DuckDB connection whose complaints are one line; of the views it makes those that a query speaks of.

    A file may go between the listing and the query (compaction, a deleted sweep); then the store is listed again.
    """

    def __init__(self, files: Files, objects: ObjectStore, layouts: Sequence[Layout]) -> None:
        self._files, self._objects, self._layouts = files, objects, layouts
        self.duckdb = duckdb.connect()
        self.duckdb.execute("SET TimeZone = 'UTC'")

    def execute_df(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Run a query, as pandas."""
        frame: pd.DataFrame = self.execute_arrow(query, parameters).to_pandas()
        return frame

    def execute_arrow(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Run a query, as Arrow."""
        for _ in range(_LISTINGS):
            try:
                self._define_views(query)
                answer = self.duckdb.sql(query, params=list(parameters))
                if answer is None:
                    raise QueryError(
                        "the query gives no table; write SELECT over the views runs, cells, curves and sweeps."
                    )
                return answer.to_arrow_table()
            except FileGoneError as error:
                gone = error
            except duckdb.IOException as error:
                gone = FileGoneError(str(_query_error(error)))
            except duckdb.Error as error:
                raise _query_error(error) from None
        raise QueryError(str(gone))

    def _define_views(self, query: str) -> None:
        asked = {word for word in ("curves", "sweeps") if re.search(rf"\b{word}\b", query, re.IGNORECASE)}
        rows = self._paths([layout.rows for layout in self._layouts])
        curves = self._paths([layout.curves for layout in self._layouts]) if "curves" in asked else []
        plans = self._files.paths(self._plans()) if "sweeps" in asked else []
        for view in (runs_view(rows), curves_view(curves), cells_view(), sweeps_view(plans)):
            self.duckdb.execute(view)

    def _paths(self, folders: Sequence[str]) -> list[str]:
        return self._files.paths(info for folder in folders for info in self._objects.list(folder))

    def _plans(self) -> list[ObjectInfo]:
        """The plans, which never change; that one is there is known from its spec."""
        return [ObjectInfo(layout.plan, 0, 0.0) for layout in self._layouts]


def _query_error(error: duckdb.Error) -> QueryError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return QueryError(f"query: {' '.join(lines[:2])}")
