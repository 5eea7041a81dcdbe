"""An attempt leaves few files, of which a listing alone says which count, and writes little twice."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_rows import row_of

from grok_sweeps.errors import StoreError
from grok_sweeps.schema import CURVES_SCHEMA, READING_NAMES
from grok_sweeps.store import ObjectInfo, SweepStore
from grok_sweeps.store.compact import compact, held_long_ago
from grok_sweeps.store.layout import Layout
from grok_sweeps.store.rows import PROGRESS_COLUMNS, RowLog
from grok_sweeps.store.segments import WRITTEN_PER_BYTE, Segments, covered, standing
from grok_sweeps.store.tables import decode_table
from tests.store.memory_objects import MemoryObjects


def readings(run_id: str, first: int, n: int, attempt: str = "a") -> pa.Table:
    """Readings at n steps from the first; noise, as what is measured is."""
    noise = random.Random(f"{run_id} {first}")
    steps = [{"step": first + k, **{name: noise.random() for name in READING_NAMES}} for k in range(n)]
    rows = [{"sweep": "made", "run_id": run_id, "attempt": attempt, **step} for step in steps]
    return pa.Table.from_pylist(rows, schema=CURVES_SCHEMA)


def a_store() -> tuple[SweepStore, MemoryObjects]:
    objects = MemoryObjects()
    return SweepStore(objects.as_store(), "made"), objects


def read(sweep: SweepStore, folder: str) -> pa.Table:
    """What the files that count hold."""
    names = [info.name for info in standing(sweep.objects.list(folder))]
    return pa.concat_tables(
        [decode_table(sweep.objects.get(name) or b"", name) for name in names], promote_options="permissive"
    )


@pytest.mark.parametrize(("n_writes", "per_write", "most_files"), [(3, 200, 1), (20, 100, 12), (200, 400, 60)])
def test_an_attempt_leaves_few_files_and_writes_no_byte_more_than_twice(
    n_writes: int, per_write: int, most_files: int
) -> None:
    sweep, objects = a_store()
    written = 0
    put = objects.put

    def counted(name: str, data: bytes) -> None:
        nonlocal written
        written += len(data)
        put(name, data)

    objects.put = counted  # type: ignore[method-assign]
    segments = Segments(sweep, "pack", "a")
    for k in range(n_writes):
        rows = [row_of(f"r{k}", attempt="a")] if k % 10 == 9 else []
        segments.write(rows, [readings("r", 1 + k * per_write, per_write)], last=k == n_writes - 1)
    files = list(objects.list("made"))
    assert written <= WRITTEN_PER_BYTE * sum(info.size for info in files)
    curves = [info for info in files if info.name.startswith(sweep.layout.curves)]
    assert len(curves) <= most_files
    assert standing(curves) == curves, "nothing that is covered is left"
    assert read(sweep, sweep.layout.curves)["step"].to_pylist() == list(range(1, 1 + n_writes * per_write))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.data())
def test_whenever_an_attempt_is_killed_each_row_and_reading_is_there_once(
    writes: list[int], data: st.DataObject
) -> None:
    sweep, objects = a_store()
    left = data.draw(st.integers(1, 4 * len(writes)), "requests before the kill")
    put, delete = objects.put, objects.delete

    def until_killed() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreError("killed")

    objects.put = lambda name, content: (until_killed(), put(name, content))[1]  # type: ignore[method-assign]
    objects.delete = lambda name: (until_killed(), delete(name))[1]  # type: ignore[method-assign]
    segments, steps, rows = Segments(sweep, "pack", "a"), 0, 0
    log = RowLog(sweep, PROGRESS_COLUMNS)
    try:
        for k, n in enumerate(writes):
            new = [row_of(f"r{rows + i}", attempt="a") for i in range(n)]
            segments.write(new, [readings("r", steps + 1, 20)], last=k == len(writes) - 1)
            steps, rows = steps + 20, rows + n
            log.refresh()
    except StoreError:
        pass
    found = read(sweep, sweep.layout.curves)["step"].to_pylist() if list(objects.list(sweep.layout.curves)) else []
    assert found in (list(range(1, steps + 1)), list(range(1, steps + 21)))
    log.refresh()
    again = RowLog(sweep, PROGRESS_COLUMNS)
    again.refresh()
    assert rows <= len(log.rows) == len(again.rows) <= rows + 3


def test_a_reader_that_has_read_the_small_segments_does_not_read_what_stands_for_them() -> None:
    sweep, objects = a_store()
    segments, log = Segments(sweep, "pack", "a"), RowLog(sweep, PROGRESS_COLUMNS)
    got: list[str] = []
    get = objects.get
    objects.get = lambda name: (got.append(name), get(name))[1]  # type: ignore[method-assign]
    for k in range(6):
        segments.write([row_of(f"r{k}", attempt="a")], [])
        log.refresh()
    objects.put(sweep.layout.row_file("pack", "a", 1, 6), b"not read")
    log.refresh()
    assert len(log.rows) == len(got) == 6
    objects.put(sweep.layout.row_file("pack", "a", 1, 7), objects.content[sweep.layout.row_file("pack", "a", 6)])
    log.refresh()
    assert len(got) == 7


def test_a_segment_that_another_one_covers_does_not_count() -> None:
    layout = Layout("made")
    small = [layout.row_file("pack", "a", k) for k in range(1, 5)]
    sealed, other = layout.row_file("pack", "a", 1, 3), layout.row_file("pack", "b", 1, 4)
    strange = ["made/rows/compact-0123.parquet", "made/rows/x.parquet", "made/rows/pack-a-000002 (copy).parquet"]
    assert covered([*small, sealed, other, *strange]) == dict.fromkeys(small[:3], sealed)
    infos = [ObjectInfo(name, 1, 0.0) for name in (*small, sealed, other, *strange, "made/rows/a.txt")]
    assert [info.name for info in standing(infos)] == [small[3], sealed, other, *strange]


def test_what_a_killed_attempt_left_covered_is_found_once_every_reader_knows() -> None:
    sweep, objects = a_store()
    segments = Segments(sweep, "pack", "a")
    for k in range(3):
        segments.write([], [readings("r", 1 + 1000 * k, 1000)])
    kept = {info.name: objects.get(info.name) or b"" for info in objects.list("made")}
    segments.write([], [readings("r", 3001, 1000)], last=True)
    for name, data in kept.items():
        objects.put(name, data)
    assert held_long_ago(sweep, sweep.layout.curves, 0.0) == []
    assert held_long_ago(sweep, sweep.layout.curves, 3_600.0) == sorted(kept)
    (sealed,) = [info.name for info in objects.list("made") if "_" in info.name]
    objects.put(sealed, (objects.get(sealed) or b"")[:-9])
    assert held_long_ago(sweep, sweep.layout.curves, 3_600.0) == [], "what stands for them cannot be read"


def test_compaction_leaves_segments_of_attempts_at_work_alone() -> None:
    sweep, objects = a_store()
    segments = Segments(sweep, "pack", "a")
    for k in range(7):
        segments.write([row_of(f"r{k}", attempt="a")], [readings(f"r{k}", 1, 5)])
        Segments(sweep, "pack", f"b{k}").write([], [readings(f"r{k}", 1, 3, f"b{k}")])
    assert compact(sweep, at_the_end=False).files_before == 0
    objects.server_time = lambda: 3_600.0  # type: ignore[method-assign]
    assert compact(sweep, at_the_end=False).files_before == 14, "there are fewer than 8 files of rows"
    assert len(read(sweep, sweep.layout.curves)) >= 7 * 5 + 7 * 3


@pytest.mark.parametrize("just_written", [False, True])
def test_compaction_at_the_end_leaves_out_readings_of_attempts_that_were_lost(just_written: bool) -> None:
    """But not of one that may write a row yet, nor of one that goes on where a budget ended."""
    sweep, objects = a_store()
    for k in range(8):
        Segments(sweep, "pack", f"lost{k}").write([], [readings(f"r{k}", 1, 3, f"lost{k}")])
        Segments(sweep, "pack", f"a{k}").write([row_of(f"r{k}", attempt=f"a{k}")], [readings(f"r{k}", 1, 5, f"a{k}")])
    Segments(sweep, "pack", "now").write([], [readings("unfinished", 1, 2, "now")])
    row = row_of("long", attempt="short", outcome="censored")
    Segments(sweep, "pack", "short").write([row], [readings("long", 1, 2, "short")])
    Segments(sweep, "pack", "longer").write([], [readings("long", 1, 2, "longer")])
    log = RowLog(sweep)
    log.refresh()
    objects.server_time = lambda: 0.0 if just_written else 3_600.0  # type: ignore[method-assign]
    compact(sweep, finished=log.rows)
    (name,) = [info.name for info in objects.list(sweep.layout.curves) if "compact-" in info.name]
    attempts = set(decode_table(objects.get(name) or b"", name)["attempt"].to_pylist())
    assert {"now", "short", "longer", *(f"a{k}" for k in range(8))} <= attempts
    assert {f"lost{k}" for k in range(8)} <= attempts if just_written else not any("lost" in a for a in attempts)
