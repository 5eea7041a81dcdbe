"""Damaged, foreign and newer objects never answer a query, on any backend; and what it costs to be sure of that."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results_rows import curve, grokked, new_sweep

from grok_sweeps.errors import UnreadableObjectWarning
from grok_sweeps.results import Store
from grok_sweeps.schema import CURVES_SCHEMA, RUNS_SCHEMA
from grok_sweeps.store import ObjectStore, SweepStore
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.tables import encode_table
from tests.written import write_results


def foreign_parquet(_: bytes) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"run_id": ["foreign"], "steps_run": [1]}), sink)
    return sink.getvalue()


def newer_schema(_: bytes) -> bytes:
    metadata = {b"grok_sweeps_schema": b"2"}
    rows = pa.Table.from_pylist([grokked("newer", 100)], schema=RUNS_SCHEMA.with_metadata(metadata))
    return encode_table(rows)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "junk": lambda _: b"PAR1 junk",
    "truncated": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "foreign": foreign_parquet,
    "newer": newer_schema,
}


@pytest.fixture
def sweep(objects: ObjectStore) -> SweepStore:
    sweep = new_sweep(objects)
    write_results(sweep, "pack", "a1", 1, [grokked("r", 100)], [curve("r", range(1, 100))])
    return sweep


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("folder", ["rows", "curves"])
def test_an_object_that_cannot_be_believed_is_skipped_with_its_name(
    damage: str, folder: str, sweep: SweepStore
) -> None:
    data = sweep.objects.get(f"made/{folder}/pack-a1-000001.parquet") or b""
    sweep.objects.put(f"made/{folder}/bad.parquet", DAMAGE[damage](data))
    store, log = Store(sweep.objects), RowLog(sweep)
    named = rf"skipped: made/{folder}/bad\.parquet: "
    with pytest.warns(UnreadableObjectWarning, match=named) as caught:
        frame = store.runs() if folder == "rows" else store.curves()
    assert set(frame.run_id) == {"r"}
    if folder == "rows":
        with pytest.warns(UnreadableObjectWarning, match=named):
            log.refresh()
        assert set(log.rows) == {"r"}
    if damage == "newer":
        assert all("upgrade grok-sweeps" in str(warning.message) for warning in caught)


def test_no_flipped_bit_anywhere_changes_an_answer(sweep: SweepStore) -> None:
    name = "made/rows/pack-a1-000001.parquet"
    data = sweep.objects.get(name) or b""
    expected = Store(sweep.objects).arrow("FROM runs")
    rng, refused = random.Random(0), 0
    for position in rng.sample(range(len(data)), 25):
        flipped = data[position] ^ 1 << rng.randrange(8)
        sweep.objects.put(name, data[:position] + bytes([flipped]) + data[position + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreadableObjectWarning)
            answer = Store(sweep.objects).arrow("FROM runs")
        assert answer.num_rows == 0 or answer.equals(expected), position
        refused += answer.num_rows == 0
    assert refused > 20


def test_a_damaged_curve_leaves_the_runs_answered(sweep: SweepStore) -> None:
    sweep.objects.put("made/curves/bad.parquet", b"")
    assert Store(sweep.objects).runs().run_id.tolist() == ["r"], "and not a word about curves nobody asked for"


def test_a_file_that_goes_between_two_queries_is_no_error(sweep: SweepStore) -> None:
    store = Store(sweep.objects)
    assert len(store.curves()) == 99
    sweep.objects.delete("made/curves/pack-a1-000001.parquet")
    assert len(store.curves()) == 0


def test_an_object_is_read_once_for_all_queries_of_a_store(sweep: SweepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read, get = Store(sweep.objects), list[str](), sweep.objects.get

    def counted(name: str) -> bytes | None:
        read.append(name)
        return get(name)

    monkeypatch.setattr(sweep.objects, "get", counted)
    for _ in range(2):
        assert len(store.runs()) == 1
    assert [name for name in read if name.endswith(".parquet")] == ["made/rows/pack-a1-000001.parquet"]
    write_results(sweep, "pack", "a1", 2, [grokked("r2", 100)], [CURVES_SCHEMA.empty_table()])
    assert len(store.runs()) == 2
    assert len(store.sweeps()) == 1
    assert sorted(name for name in read if name.endswith(".parquet")) == [
        "made/plan.parquet",
        "made/rows/pack-a1-000001.parquet",
        "made/rows/pack-a1-000002.parquet",
    ]
