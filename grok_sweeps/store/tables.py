"""Parquet bytes from and to Arrow tables, with the schema version and a seal in every file.

What DuckDB reads is checked too, which itself looks at no checksum. A digest of the columns' names and types says which
files have the same. Files from before the seal carry checksums of their pages, and sealed ones of earlier versions the
columns as Arrow wrote them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grok_sweeps.errors import CorruptObjectError, NewerSchemaError
from grok_sweeps.schema import SCHEMA_VERSION
from grok_sweeps.store.seal import KEY, OPEN, is_sealed, seal

_VERSION_KEY = b"grok_sweeps_schema"
_COLUMNS_KEY = b"grok_sweeps_columns"
"""Digest of the columns' names and types."""
_HOLDS_KEY = b"grok_sweeps_holds"
_TOLD_KEY = b"grok_sweeps_told"
FENCE_KEY = b"grok_sweeps_fence"
"""Fence of the lease under which a worker wrote the file."""
_OF_ONE_FILE = {KEY.encode(), b"grok_sweeps_packed", _COLUMNS_KEY, _HOLDS_KEY, _TOLD_KEY, FENCE_KEY}
_VERSION = re.compile(_VERSION_KEY + rb"\x18.(\d{1,9})")
"""Key and value as they stand in a footer (Thrift's compact protocol): parsing it whole takes ten times as long as the
checksum, and 10,000 files are looked at."""
_SCHEMA = re.compile(rb"(?:grok_sweeps_columns|ARROW:schema)\x18[\x80-\xff]*[\x00-\x7f]([A-Za-z0-9+/=]+)")

ROWS_A_GROUP = 50_000
"""Rows that are read or left out together: in a compact file of curves those of some two hundred runs."""
FEW_ROWS = 2_000
"""Up to as many, dictionaries and statistics take more room than they save: a row's file has 10 kB instead of 24."""


@dataclass(frozen=True, slots=True)
class Held:
    """The files in whose place a compact file stands; of those that are `told`, compact too, what they held as well."""

    files: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()

    @property
    def originals(self) -> frozenset[str]:
        """The files that were there at first; for one that was compact and is not told its own name."""
        return self.files - self.told


def table_of_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; a key that the schema lacks raises: a bug."""
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise ValueError(f"columns not in the schema: {sorted(unknown)}")
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def encode_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, fence: int | None = None) -> bytes:
    """Parquet bytes of `rows`, written under the lease of this fence."""
    return encode_table(table_of_rows(rows, schema), fence=fence)


def encode_table(table: pa.Table, held: Held | None = None, fence: int | None = None) -> bytes:
    """Parquet bytes of `table`, which stands in the place of the files `held`, under the lease of this fence."""
    sink = pa.BufferOutputStream()
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    is_large = len(table) > FEW_ROWS
    options: dict[str, Any] = {
        # Readings hardly repeat: as split bytes they take half the room that a dictionary does, and less time.
        "use_byte_stream_split": floats,
        "use_dictionary": [name for name in table.column_names if name not in set(floats)] if is_large else False,
        "write_statistics": is_large,
        "store_schema": False,
    }
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True, **options) as writer:
        writer.write_table(table, row_group_size=ROWS_A_GROUP)
        writer.add_key_value_metadata({**(table.schema.metadata or {}), _COLUMNS_KEY: _digest_of(table.schema)})
        if held is not None:
            writer.add_key_value_metadata({_HOLDS_KEY: json.dumps(sorted(held.files))})
            writer.add_key_value_metadata({_TOLD_KEY: json.dumps(sorted(held.told))})
        if fence is not None:
            writer.add_key_value_metadata({FENCE_KEY: str(fence)})
        writer.add_key_value_metadata({KEY: OPEN})
    data: bytes = sink.getvalue().to_pybytes()
    return seal(data)


def decode_table(data: bytes, name: str, columns: Collection[str] | None = None) -> pa.Table:
    """Read Parquet bytes; of the file's columns all, or those in `columns`.

    Raises:
        CorruptObjectError: truncated, damaged, not of this project, or written by a newer schema.
    """
    sealed = is_sealed(data, name)
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=not sealed)
        _check_version(file.metadata.metadata or {}, name)
        _check_columns(file.schema_arrow)
        wanted = [field for field in file.schema_arrow.names if columns is None or field in columns]
        table = file.read(columns=wanted, use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptObjectError(f"{name}: not a readable Parquet file: {' '.join(str(error).split())}") from error
    return table.replace_schema_metadata({k: v for k, v in table.schema.metadata.items() if k not in _OF_ONE_FILE})


def check_table(data: bytes, name: str) -> None:
    """Refuse what `decode_table` refuses, without decoding where the file has a seal."""
    if not is_sealed(data, name):
        decode_table(data, name)
        return
    versions = {bytes(found) for found in _VERSION.findall(data, data.rfind(_VERSION_KEY))}
    if len(versions) == 1:
        _check_version({_VERSION_KEY: versions.pop()}, name)
        return
    try:
        metadata = pq.read_metadata(pa.BufferReader(data)).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise CorruptObjectError(f"{name}: not a readable Parquet file: {' '.join(str(error).split())}") from error
    _check_version(metadata, name)


def columns_of(data: bytes) -> bytes:
    """What is equal in files of the same columns, from the bytes of one; empty where it does not say."""
    keys = max(data.rfind(_COLUMNS_KEY), data.rfind(b"ARROW:schema"))
    found = _SCHEMA.search(data, keys) if keys >= 0 else None
    return b"" if found is None else found[1]


def held_files(data: bytes, name: str) -> Held:
    """The files in whose place a file stands that was checked; none unless it is compact."""
    return held_by(pa.BufferReader(data), name) if _HOLDS_KEY in data else Held()


def held_by(file: Any, name: str) -> Held:
    """What `held_files` says, from the footer of a file that is open and was not checked.

    The files it names are those beside it, also where the sweep's folder had another name when it was written.

    Raises:
        OSError, ValueError: there is no footer that says so.
    """
    metadata = pq.read_metadata(file).metadata or {}
    sweep = name.partition("/")[0]
    files, told = (
        frozenset(f"{sweep}/{held.partition('/')[2]}" for held in json.loads(metadata.get(key, b"[]")))
        for key in (_HOLDS_KEY, _TOLD_KEY)
    )
    return Held(files, told)


def _check_version(metadata: Mapping[bytes, bytes], name: str) -> None:
    if _VERSION_KEY not in metadata:
        raise CorruptObjectError(f"{name}: not written by grok-sweeps.")
    version = int(metadata[_VERSION_KEY])
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(name, version, SCHEMA_VERSION)


def _check_columns(schema: pa.Schema) -> None:
    metadata = schema.metadata or {}
    if metadata.get(_COLUMNS_KEY, digest := _digest_of(schema).encode()) != digest:
        raise ValueError("its columns are not those that were written.")


def _digest_of(schema: pa.Schema) -> str:
    columns = "|".join(f"{field.name}:{field.type}" for field in schema)
    return hashlib.sha256(columns.encode()).hexdigest()[:16]
