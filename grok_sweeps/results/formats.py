"""An answer written batch by batch, so that one of any size takes little memory: Parquet, CSV, Arrow, JSON, JSON Lines.

Values go out as they are: whole numbers stay whole beside nulls, floats keep every digit. JSON knows no NaN and no
infinity; they become null there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date, datetime
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

BATCH_ROWS = 50_000
"""Rows that are held at once."""

Write = Callable[[pa.RecordBatch], Any]


@contextmanager
def parquet(sink: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    """Parquet with zstd."""
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        yield writer.write_batch


@contextmanager
def csv(sink: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    """CSV with a header; null is empty."""
    options = pa_csv.WriteOptions(quoting_style="needed")
    plain = pa.schema([pa.field(f.name, pa.string() if pa.types.is_nested(f.type) else f.type) for f in schema])
    with pa_csv.CSVWriter(sink, plain, write_options=options) as writer:

        def write(batch: pa.RecordBatch) -> None:
            columns = [
                pa.array([None if v is None else json.dumps(_plain(v)) for v in column.to_pylist()], pa.string())
                if pa.types.is_nested(column.type)
                else column
                for column in batch.columns
            ]
            writer.write_batch(pa.record_batch(columns, schema=plain))

        yield write


@contextmanager
def arrow(sink: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    """An Arrow IPC file."""
    with pa.ipc.new_file(sink, schema) as writer:
        yield writer.write_batch


@contextmanager
def jsonl(sink: BinaryIO, schema: pa.Schema) -> Iterator[Write]:  # noqa: ARG001
    """One JSON object a line."""

    def write(batch: pa.RecordBatch) -> None:
        sink.write("".join(f"{_object(row)}\n" for row in batch.to_pylist()).encode())

    yield write


@contextmanager
def json_array(sink: BinaryIO, schema: pa.Schema) -> Iterator[Write]:  # noqa: ARG001
    """One JSON array of objects."""
    before = "["

    def write(batch: pa.RecordBatch) -> None:
        nonlocal before
        for row in batch.to_pylist():
            sink.write(f"{before}{_object(row)}".encode())
            before = ",\n"

    yield write
    sink.write(b"[]\n" if before == "[" else b"]\n")


@contextmanager
def markdown(sink: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    """A Markdown table, numbers to the right."""
    right = [pa.types.is_integer(f.type) or pa.types.is_floating(f.type) for f in schema]
    _line(sink, schema.names)
    _line(sink, ["---:" if number else "---" for number in right])

    def write(batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            _line(sink, ["" if value is None else str(_plain(value)) for value in row.values()])

    yield write


FORMATS: dict[str, Callable[[BinaryIO, pa.Schema], AbstractContextManager[Write]]] = {
    "parquet": parquet,
    "csv": csv,
    "arrow": arrow,
    "jsonl": jsonl,
    "json": json_array,
    "markdown": markdown,
}


def write_batches(form: str, sink: BinaryIO, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
    """Write all batches; return how many rows there were."""
    n_rows = 0
    with FORMATS[form](sink, schema) as write:
        for batch in batches:
            write(batch)
            n_rows += batch.num_rows
    return n_rows


def _line(sink: BinaryIO, cells: list[str]) -> None:
    escaped = (" ".join(cell.replace("\\", "\\\\").replace("|", "\\|").split()) for cell in cells)
    sink.write(f"| {' | '.join(escaped)} |\n".encode())


def _object(row: dict[str, Any]) -> str:
    return json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | None) else str(value)
