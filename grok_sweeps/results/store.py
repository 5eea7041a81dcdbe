"""`open_store(uri)`: the store as a researcher sees it, in pandas, Arrow or SQL.

Each call lists the store anew and reads a consistent set of finished runs, so a sweep may be queried while it runs.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from html import escape
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from grok_sweeps.errors import GrokSweepsError, QueryError, StoreWarning, did_you_mean
from grok_sweeps.results.conditions import check_columns, condition
from grok_sweeps.results.snapshot import Parameters, Reader, Snapshot
from grok_sweeps.schema import VIEWS
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from grok_sweeps.store.objects import for_each

ORDER = {
    "runs": "sweep, p, arm, rho, tau, seed",
    "cells": "sweep, p, arm, rho, tau",
    "curves": "sweep, run_id, step",
    "sweeps": "sweep",
}
"""In what order the views are given."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def open_store(uri: str, *, threads: int | None = None) -> Store:
    """Open the store at `uri` (a path, `file://`, `s3://`) to read it; nothing is written and it need not exist yet.

    Queries use as many `threads` as there are cores, or as many as given: one beside a training.
    """
    return Store(open_objects(uri), threads=threads)


class Store:
    """All sweeps of one store."""

    def __init__(self, objects: ObjectStore, *, threads: int | None = None) -> None:
        self.objects = objects
        self.uri = objects.uri
        self._reader = Reader(objects, threads)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def _repr_html_(self) -> str:
        """The sweeps of the store, in a notebook."""
        try:
            table: str = self.sweeps().to_html(index=False, na_rep="", border=0)
        except GrokSweepsError as error:
            table = escape(str(error))
        return f"<p><code>{escape(self.uri)}</code></p>{table}"

    def sweep_names(self) -> list[str]:
        """Names of the sweeps in the store, which are those of its folders with a spec.

        A folder whose name no sweep can have is left out with a warning.
        """
        folders = list(self.objects.folders())
        known = for_each(self.objects, lambda name: SweepStore(self.objects, name).exists(), folders)
        there = [name for name, exists in zip(folders, known, strict=True) if exists]
        for name in there:
            if not _NAME.fullmatch(name):
                warnings.warn(
                    f"{self.objects.address(name)}: left out. A sweep's name is its folder's, and '{name}' cannot be "
                    "one; rename the folder with letters, digits, '.', '_' and '-', or move it out of the store.",
                    StoreWarning,
                    stacklevel=1,
                )
        return [name for name in there if _NAME.fullmatch(name)]

    def sweep(self, name: str) -> SweepStore:
        """One sweep's objects.

        Raises:
            QueryError: no sweep of that name.
        """
        found = SweepStore(self.objects, name)
        if not _NAME.fullmatch(name) or not found.exists():
            names = self.sweep_names()
            listing = f"Sweeps there: {', '.join(names)}." if names else "It holds no sweep yet."
            raise QueryError(f"no sweep '{name}' in {self.uri}.{did_you_mean(name, names)} {listing}")
        return found

    def runs(
        self, sweep: str | None = None, where: str | None = None, params: Parameters = (), **equal: Any
    ) -> pd.DataFrame:
        """Finished runs, one row a run (columns: `schema.RUN_COLUMNS`), of one sweep or of all.

        `where` is an SQL condition, whose `?` or `$name` are bound to `params`; `column=value` asks for that value, a
        list for any of its values, None for null: `store.runs(where="rho > ?", params=[1.0], arm="clamp")`.

        Raises:
            QueryError: no such sweep or column, or DuckDB refuses the condition; one line.
        """
        return self._view("runs", sweep, where, params, equal)

    def cells(
        self, sweep: str | None = None, where: str | None = None, params: Parameters = (), **equal: Any
    ) -> pd.DataFrame:
        """Counts, medians and means of each cell (columns: `schema.CELL_COLUMNS`); conditions as for `runs`."""
        return self._view("cells", sweep, where, params, equal)

    def curves(
        self, sweep: str | None = None, run_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Readings over time (columns: `schema.CURVE_COLUMNS`), of one sweep, of some runs, or of all.

        With `run_ids` only files are read that those runs can be in. With `columns` run_id, step and these.
        """
        if isinstance(run_ids, str) or not (sweep is None or isinstance(sweep, str)):
            raise QueryError(
                "curves: a sweep is a name and run_ids a list; write curves(run_ids=[...], columns=[...])."
            )
        check_columns("curves", [c.name for c in VIEWS["curves"]], columns or ())
        names = "*" if columns is None else ", ".join(dict.fromkeys(("run_id", "step", *columns)))
        query = f"SELECT {names} FROM curves ORDER BY {ORDER['curves']}"
        if run_ids is None:
            return _frame(self.snapshot(sweep).arrow(query))
        # From the first id to the last: what lies outside is left unread within a file too.
        bounds = [min(run_ids), max(run_ids)] if len(run_ids) else ["", ""]
        query = f"SELECT {names} FROM curves WHERE run_id BETWEEN ? AND ? ORDER BY {ORDER['curves']}"
        return _frame(self.snapshot(sweep, run_ids).arrow(query, bounds))

    def sweeps(self) -> pd.DataFrame:
        """One row a sweep (columns: `schema.SWEEP_COLUMNS`): planned and finished runs, steps, times."""
        return self._view("sweeps", None)

    def sql(self, query: str, params: Parameters = ()) -> pd.DataFrame:
        """Answer a DuckDB query over the views runs, cells, curves and sweeps, as pandas.

        `params` are bound to `?` (a list) or `$name` (a dict), never pasted into the text.

        Raises:
            QueryError: what DuckDB has against the query, in one line.
        """
        return _frame(self.arrow(query, params))

    def arrow(self, query: str, params: Parameters = ()) -> pa.Table:
        """As `sql`, but an Arrow table."""
        return self.snapshot().arrow(query, params)

    def relation(self, query: str, params: Parameters = ()) -> duckdb.DuckDBPyRelation:
        """As `sql`, but a DuckDB relation, computed when it is used: on the files that are there now."""
        return self.snapshot().read(query, params, lambda answer: answer)

    def snapshot(self, sweep: str | None = None, run_ids: Sequence[str] | None = None) -> Snapshot:
        """The views over the store as it is when a query is asked, of one sweep or of all."""
        names = self.sweep_names() if sweep is None else [self.sweep(sweep).sweep]
        return Snapshot(self._reader, names, run_ids)

    def _view(
        self,
        view: str,
        sweep: str | None,
        where: str | None = None,
        params: Parameters = (),
        equal: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        asked, given = condition(view, [c.name for c in VIEWS[view]], where, params, equal or {})
        return _frame(self.snapshot(sweep).arrow(f"SELECT * FROM {view} {asked} ORDER BY {ORDER[view]}", given))


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame
