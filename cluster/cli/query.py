"""query: SQL over the results of every sweep in the store."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.table import Table
from rich.text import Text

from cluster.cli.common import StoreOption, app, console, store_at


class Format(StrEnum):
    """How an answer is printed."""

    table = "table"
    csv = "csv"
    json = "json"


@app.command()
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="DuckDB SQL over the views runs, cells, curves, sweeps.")],
    store: StoreOption = None,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to print the answer.")] = Format.table,
) -> None:
    """Answer a query over the results table, also while a sweep runs."""
    answer = store_at(store).sql(sql)
    match form:
        case Format.csv:
            answer.to_csv(sys.stdout, index=False)
        case Format.json:
            sys.stdout.write(answer.to_json(orient="records", date_format="iso") + "\n")
        case Format.table:
            console().print(_table(answer))
            console().print(f"{len(answer):,} rows", style="dim", highlight=False)


def _table(answer: pd.DataFrame) -> Table:
    table = Table()
    for name in answer.columns:
        numeric = pd.api.types.is_numeric_dtype(answer[name])
        table.add_column(Text(str(name)), justify="right" if numeric else "left", overflow="fold")
    for row in answer.itertuples(index=False):
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: object) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | dict):
        return str(value)
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return "—"
    return (
        f"{value:.6g}"
        if isinstance(value, float) and not value.is_integer()
        else (f"{value:.0f}" if isinstance(value, float) else str(value))
    )
