"""query, export: the results of every sweep in the store, as SQL answers and as files."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.table import Table
from rich.text import Text

from grok_sweeps.cluster.cli.common import StoreOption, app, console, store_at
from grok_sweeps.errors import QueryError


class Format(StrEnum):
    """How an answer is printed."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"
    markdown = "markdown"


class FileFormat(StrEnum):
    """What an exported file is."""

    parquet = "parquet"
    csv = "csv"
    arrow = "arrow"
    jsonl = "jsonl"


class View(StrEnum):
    """What is exported."""

    runs = "runs"
    curves = "curves"
    cells = "cells"


ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")]


@app.command()
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="DuckDB SQL over the views runs, cells, curves, sweeps.")],
    store: StoreOption = None,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to print the answer.")] = Format.table,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="NAME=VALUE", help="Value of $NAME in the SQL: a JSON scalar, or text; may be repeated."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, metavar="N", help="At most N rows.")] = None,
    offset: Annotated[int, typer.Option("--offset", min=0, metavar="N", help="Leave out the first N rows.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")] = None,
    force: ForceOption = False,
) -> None:
    """Answer a query over the results table, also while a sweep runs."""
    from grok_sweeps.results.export import new_file
    from grok_sweeps.results.formats import BATCH_ROWS, write_batches

    if form is Format.table and output is not None:
        raise QueryError("--output: a table is for the terminal; choose --format csv, json, parquet or markdown.")
    if form is Format.parquet and output is None and sys.stdout.isatty():
        raise QueryError("--format parquet: not for a terminal; name a file with --output, or send it to a program.")
    snapshot, given = store_at(store).snapshot(), _parameters(param or [])
    answer = snapshot.read(
        sql, given, lambda found: found.limit(_MOST if limit is None else limit, offset).to_arrow_table()
    )
    if form is Format.table:
        console().print(_table(answer))
        console().print(f"{len(answer):,} row{'' if len(answer) == 1 else 's'}", style="dim", highlight=False)
    elif output is not None:
        with new_file(output, force=force) as file:
            write_batches(form, file, answer.schema, iter(answer.to_batches(BATCH_ROWS)))
    else:
        write_batches(form, sys.stdout.buffer, answer.schema, _while_read(answer.to_batches(BATCH_ROWS)))
        sys.stdout.buffer.flush()


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="Name of a sweep in the store.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every sweep of the store.")] = False,
    form: Annotated[FileFormat, typer.Option("--format", "-f", help="What file.")] = FileFormat.parquet,
    table: Annotated[View, typer.Option("--table", "-t", help="What to write.")] = View.runs,
    force: ForceOption = False,
    store: StoreOption = None,
) -> None:
    """Write runs, curves or cells of one sweep, or of all, to a file: whole, or not at all."""
    from grok_sweeps.results.export import export as write

    if everything == (sweep is not None):
        raise QueryError("export: name a sweep, or give --all for every sweep of the store; one of the two.")
    n_rows = write(store_at(store), sweep, table, form, output, force=force)
    console().print(f"{output}: {n_rows:,} rows of {table}", highlight=False, markup=False)


def _while_read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sys.stdout.flush()  # raises where nobody takes the answer any more
        yield batch


_MOST = 2**62
"""Rows of an answer that is not limited."""


def _parameters(texts: list[str]) -> dict[str, Any]:
    """Values by name."""
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise QueryError(f"--param {text}: not NAME=VALUE; write --param rho=1.05 for $rho in the SQL.")
        if name in given:
            raise QueryError(f"--param {name}: given twice.")
        given[name] = _scalar(value)
    return given


def _scalar(text: str) -> str | int | float | bool | None:
    """A number, true, false, null or quoted text as JSON has them; anything else is text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, list | dict) else value


def _table(answer: pa.Table) -> Table:
    table = Table()
    for field in answer.schema:
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(Text(field.name), justify="right" if numeric else "left", overflow="fold")
    for row in zip(*(column.to_pylist() for column in answer.columns), strict=True):
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "—"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.6g}"
    return str(value)
