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
from grok_sweeps.results.views import cells_view, curves_view, runs_view, sweeps_view
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from grok_sweeps.store.layout import Layout


def open_store(uri: str) -> Store:
    """Open the store at `uri` (a path or `file://` URI) for reading; nothing is written and it need not exist yet."""
    return Store(open_objects(uri))


class Store:
    """All sweeps of one store."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.uri = objects.uri

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def sweep_names(self) -> list[str]:
        """Names of the sweeps in the store."""
        return [name for name in self.objects.folders() if SweepStore(self.objects, name).exists()]

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
        layouts = [Layout(name) for name in names]
        rows = self._files([layout.rows for layout in layouts])
        curves = self._files([layout.curves for layout in layouts])
        plans = [self.objects.glob(layout.plan) for layout in layouts]
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        for view in (runs_view(rows), curves_view(curves), cells_view(), sweeps_view(plans)):
            connection.execute(view)
        return _Connection(connection)

    def _files(self, folders: Sequence[str]) -> list[str]:
        return [
            self.objects.glob(info.name)
            for folder in folders
            for info in self.objects.list(folder)
            if info.name.endswith(".parquet")
        ]

    def _view(self, view: str, sweep: str | None, order: str, run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        condition = "" if run_ids is None else "WHERE run_id IN (SELECT unnest(?))"
        parameters = [] if run_ids is None else [list(run_ids)]
        return self.connect(sweep).execute_df(f"SELECT * FROM {view} {condition} ORDER BY {order}", parameters)  # noqa: S608


class _Connection:
    """A DuckDB connection whose complaints are one line."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.duckdb = connection

    def execute_df(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Run a query, as pandas."""
        return self._run(query, parameters).df()

    def execute_arrow(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Run a query, as Arrow."""
        return self._run(query, parameters).fetch_arrow_table()

    def _run(self, query: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyConnection:
        if not query.strip():
            raise QueryError("the query is empty; write SQL over the views runs, cells, curves and sweeps.")
        try:
            return self.duckdb.execute(query, list(parameters))
        except duckdb.Error as error:
            first = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise QueryError(f"query: {' '.join(first[:2])}") from None
