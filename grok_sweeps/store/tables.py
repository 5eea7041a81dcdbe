"""Parquet bytes from and to Arrow tables, with the schema version in every file.

Every page carries its checksum, and the footer a digest of the columns, so that `decode_table`, through which drivers
and workers read, refuses a damaged file. DuckDB does not look at page checksums: a query over a file with a flipped bit
may answer from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grok_sweeps.errors import CorruptObjectError
from grok_sweeps.schema import SCHEMA_VERSION

_VERSION_KEY = b"grok_sweeps_schema"
_COLUMNS_KEY = b"grok_sweeps_columns"


def encode_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Parquet bytes of `rows`; a key that the schema lacks is a bug and raises."""
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise ValueError(f"columns not in the schema: {sorted(unknown)}")
    return encode_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema))


def encode_table(table: pa.Table) -> bytes:
    """Parquet bytes of `table`."""
    metadata = {**(table.schema.metadata or {}), _COLUMNS_KEY: _columns_digest(table.schema)}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode_table(data: bytes, name: str) -> pa.Table:
    """Read Parquet bytes.

    Raises:
        CorruptObjectError: truncated, damaged, not Parquet, or written by a newer schema.
    """
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False, page_checksum_verification=True)
        metadata = table.schema.metadata or {}
        version = int(metadata.get(_VERSION_KEY, b"0"))
        if _COLUMNS_KEY in metadata and metadata[_COLUMNS_KEY] != _columns_digest(table.schema):
            raise ValueError("its columns are not those that were written.")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptObjectError(f"{name}: not a readable Parquet file: {' '.join(str(error).split())}") from error
    if version > SCHEMA_VERSION:
        raise CorruptObjectError(
            f"{name}: written with schema {version}, this version reads up to {SCHEMA_VERSION}; upgrade grok-sweeps."
        )
    return table


def _columns_digest(schema: pa.Schema) -> bytes:
    columns = "|".join(f"{field.name}:{field.type}" for field in schema)
    return hashlib.sha256(columns.encode()).hexdigest()[:16].encode()
