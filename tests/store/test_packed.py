"""What a file of a few rows says in its footer is what its Parquet columns say, and nothing else is believed."""

from __future__ import annotations

import base64
import zlib
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_rows import row_of

from grok_sweeps.errors import CorruptObjectError
from grok_sweeps.schema import RUNS_SCHEMA
from grok_sweeps.store import packed
from grok_sweeps.store.packed import MOST_ROWS, packed_in
from grok_sweeps.store.rows import PROGRESS_COLUMNS
from grok_sweeps.store.tables import decode_table, encode_table


def rows(n: int) -> pa.Table:
    """Rows with nulls, text beyond ASCII, times, and floats that are no number."""
    values = [
        row_of(
            f"run{k}",
            error=None if k % 2 else "Fähre ✓",
            w_c=[None, float("nan"), float("inf"), -0.0][k % 4],
            finished_at=datetime(2026, 1, 1, 12, 0, k % 60, 123_456, tzinfo=UTC),
        )
        for k in range(n)
    ]
    return pa.Table.from_pylist(values, schema=RUNS_SCHEMA)


def same(table: pa.Table, other: pa.Table) -> None:
    """The same columns, and of floats the same bits: NaN included, which equals nothing."""
    assert table.schema.equals(other.schema, check_metadata=True)
    for ours, theirs in zip(table.combine_chunks().columns, other.combine_chunks().columns, strict=True):
        bits = pa.int64() if pa.types.is_floating(ours.type) else ours.type
        assert [c.view(bits) for c in ours.chunks] == [c.view(bits) for c in theirs.chunks]


@pytest.mark.parametrize("n", [1, 7, MOST_ROWS])
@pytest.mark.parametrize("columns", [None, PROGRESS_COLUMNS])
def test_the_rows_are_those_of_the_parquet_columns(
    n: int, columns: frozenset[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rows(n)
    data = encode_table(table)
    assert packed_in(data)
    read = decode_table(data, "x", columns)
    monkeypatch.setattr(packed, "MOST_ROWS", 0)
    plain = encode_table(table)
    assert not packed_in(plain)
    same(read, decode_table(plain, "x", columns))
    written = pq.read_table(pa.BufferReader(data), columns=read.column_names)
    same(read, written.replace_schema_metadata(read.schema.metadata))


@pytest.mark.parametrize("n", [0, MOST_ROWS + 1])
def test_many_rows_and_none_are_written_as_parquet_alone(n: int) -> None:
    table = rows(n)
    data = encode_table(table)
    assert not packed_in(data)
    same(decode_table(data, "x"), table)


@pytest.mark.parametrize(
    "content", ["AAAA", "A", base64.b64encode(zlib.compress(b"no message")).decode()], ids=["text", "cut", "message"]
)
def test_a_file_that_claims_what_it_has_not_is_named(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "packed", lambda table: content)
    data = encode_table(rows(1))
    with pytest.raises(CorruptObjectError, match=r"^made/x\.parquet: not a readable Parquet file: .") as caught:
        decode_table(data, "made/x.parquet")
    assert "\n" not in str(caught.value)


def test_a_message_of_other_columns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(3)
    content = packed.packed(table.drop_columns(["run_id", "w_c"]))
    monkeypatch.setattr(packed, "packed", lambda table: content)
    with pytest.raises(CorruptObjectError, match="not a readable Parquet file"):
        decode_table(encode_table(table), "x")
