"""`open_store(uri)`: the store as a researcher sees it, in pandas, Arrow or SQL.

Each call lists the store anew and reads a consistent set of finished runs, so a sweep may be queried while it runs.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from grok_sweeps.errors import CorruptObjectError, QueryError, did_you_mean
from grok_sweeps.results.views import cells_view, curves_view, runs_view, sweeps_view
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from grok_sweeps.store.layout import Layout
from grok_sweeps.store.rows import UnreadableObjectWarning
from grok_sweeps.store.tables import decode_table


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
        return _Connection(self.objects, rows, curves, [layout.plan for layout in layouts])

    def _files(self, folders: Sequence[str]) -> list[str]:
        return [info.name for folder in folders for info in self.objects.list(folder) if info.name.endswith(".parquet")]

    def _view(self, view: str, sweep: str | None, order: str, run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        condition = "" if run_ids is None else "WHERE run_id IN (SELECT unnest(?))"
        parameters = [] if run_ids is None else [list(run_ids)]
        return self.connect(sweep).execute_df(f"SELECT * FROM {view} {condition} ORDER BY {order}", parameters)


class _Connection:
    """A DuckDB connection whose complaints are one line, and which skips objects that cannot be read.

    Objects are looked at one by one only after DuckDB has failed on them, so whole stores pay nothing for it.
    """

    def __init__(self, objects: ObjectStore, rows: list[str], curves: list[str], plans: list[str]) -> None:
        self._objects = objects
        self._rows, self._curves, self._plans = rows, curves, plans
        self.duckdb = duckdb.connect()
        self.duckdb.execute("SET TimeZone = 'UTC'")
        self._define_views()

    def execute_df(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Run a query, as pandas."""
        frame: pd.DataFrame = self.execute_arrow(query, parameters).to_pandas()
        return frame

    def execute_arrow(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Run a query, as Arrow."""
        try:
            answer = self.duckdb.sql(query, params=list(parameters))
            if answer is None:
                raise QueryError(
                    "the query gives no table; write SELECT over the views runs, cells, curves and sweeps."
                )
            return answer.to_arrow_table()
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            raise _query_error(error) from None
        except duckdb.Error as error:
            if not self._drop_unreadable():
                raise _query_error(error) from None
            self._define_views()
            return self.execute_arrow(query, parameters)

    def _define_views(self) -> None:
        rows, curves, plans = ([self._objects.glob(n) for n in names] for names in self._names())
        try:
            for view in (runs_view(rows), curves_view(curves), cells_view(), sweeps_view(plans)):
                self.duckdb.execute(view)
        except duckdb.Error as error:
            if not self._drop_unreadable():
                raise _query_error(error) from None
            self._define_views()

    def _names(self) -> tuple[list[str], list[str], list[str]]:
        return self._rows, self._curves, self._plans

    def _drop_unreadable(self) -> bool:
        """Forget the objects that cannot be read, with a warning for each; return whether there were any."""
        dropped = False
        for names in self._names():
            for name in tuple(names):
                try:
                    decode_table(self._objects.get(name) or b"", name)
                except CorruptObjectError as error:
                    warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=2)
                    names.remove(name)
                    dropped = True
        return dropped


def _query_error(error: duckdb.Error) -> QueryError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return QueryError(f"query: {' '.join(lines[:2])}")
