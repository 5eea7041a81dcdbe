"""Parquet bytes from and to Arrow tables, with the schema version in every file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grok_sweeps.errors import CorruptObjectError
from grok_sweeps.schema import SCHEMA_VERSION

_VERSION_KEY = b"grok_sweeps_schema"


def encode_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Parquet bytes of `rows`; a key that the schema lacks is a bug and raises."""
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise ValueError(f"columns not in the schema: {sorted(unknown)}")
    return encode_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema))


def encode_table(table: pa.Table) -> bytes:
    """Parquet bytes of `table`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def decode_table(data: bytes, name: str) -> pa.Table:
    """Read Parquet bytes.

    Raises:
        CorruptObjectError: truncated, not Parquet, or written by a newer schema.
    """
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptObjectError(f"{name}: not a readable Parquet file: {error}.") from error
    version = int((table.schema.metadata or {}).get(_VERSION_KEY, b"0"))
    if version > SCHEMA_VERSION:
        raise CorruptObjectError(
            f"{name}: written with schema {version}, this version reads up to {SCHEMA_VERSION}; upgrade grok-sweeps."
        )
    return table
