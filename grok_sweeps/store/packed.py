"""A table of a few rows once more in its Parquet file's footer, as one message of Arrow's.

A run's row alone in a file takes 4 ms to decode as Parquet, which has a page, a header and statistics for each of a
hundred values, and as this message 0.1 ms. Thousands of such files are read at once: by a query, by a driver that
starts, by compaction. It is believed where the file's seal holds, which covers it; other readers need not know of it.
"""

from __future__ import annotations

import base64
import functools
import re
import zlib

import pyarrow as pa

KEY = "grok_sweeps_packed"
MOST_ROWS = 32
"""A table with more is written as Parquet alone: its values outweigh what stands around each."""

_MOST_BYTES = 1 << 26
_KEY = KEY.encode()
# Key and value as they stand in a footer (Thrift's compact protocol): parsing it whole takes ten times as long.
_VALUE = r"\x18[\x80-\xff]*[\x00-\x7f]([A-Za-z0-9+/=]+)"
_PACKED = re.compile(f"{KEY}{_VALUE}".encode("latin-1"))
_SCHEMA = re.compile(f"ARROW:schema{_VALUE}".encode("latin-1"))


def packed(table: pa.Table) -> str | None:
    """What stands for a table of a few rows, without its schema; None of one that has more, or none."""
    if not 0 < table.num_rows <= MOST_ROWS:
        return None
    (batch,) = table.combine_chunks().to_batches()
    return base64.b64encode(zlib.compress(batch.serialize(), 1)).decode()


def packed_in(data: bytes) -> bytes:
    """What stands for the table in a Parquet file whose seal holds; empty where nothing does."""
    found = _PACKED.search(data, data.rfind(_KEY)) if _KEY in data else None
    return b"" if found is None else found[1]


def schema_in(data: bytes) -> bytes:
    """The columns of a Parquet file and their types, as Arrow wrote them; empty where it does not say."""
    found = _SCHEMA.search(data, data.rfind(b"ARROW:schema"))
    return b"" if found is None else found[1]


def unpacked(content: bytes, schema: bytes) -> pa.RecordBatch:
    """The rows, from what `packed_in` and `schema_in` gave.

    Raises:
        ArrowInvalid: it is none of what `packed` gives: a seal says that nothing was damaged, not who wrote it.
    """
    stream = zlib.decompressobj()
    try:
        message = stream.decompress(base64.b64decode(content), _MOST_BYTES)
    except (ValueError, zlib.error) as error:
        raise pa.ArrowInvalid(f"not a packed table: {error}") from error
    if not stream.eof:
        raise pa.ArrowInvalid(f"not a packed table: it does not end within {_MOST_BYTES} bytes")
    batch = pa.ipc.read_record_batch(pa.py_buffer(message), _schema(schema))
    batch.validate(full=True)
    return batch


@functools.lru_cache(maxsize=64)
def _schema(text: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
