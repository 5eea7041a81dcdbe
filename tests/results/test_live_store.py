"""While workers write and a driver compacts, an answer is of finished runs: each once, each with its whole curve."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest
from results_rows import curve, grokked, new_sweep

from grok_sweeps.results import Store
from grok_sweeps.results.files import File
from grok_sweeps.schema import CURVES_SCHEMA
from grok_sweeps.store import ObjectInfo, ObjectStore, SweepStore
from grok_sweeps.store.compact import compact
from grok_sweeps.store.segments import Segments
from tests.written import write_results

N_RUNS, STEPS = 36, [1, 25, 50]
CHECKED = """
    SELECT run_id, count(*) AS n_rows, sum(n_points)::BIGINT AS n_points
    FROM runs LEFT JOIN (SELECT sweep, run_id, attempt, count(*) AS n_points FROM curves GROUP BY ALL)
    USING (sweep, run_id, attempt) GROUP BY run_id ORDER BY run_id"""


@contextmanager
def writer(sweep: SweepStore) -> Iterator[threading.Thread]:
    """Another thread that writes runs one by one, every third in two attempts, and compacts now and then."""
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for k in range(N_RUNS):
                for attempt in (f"a{k}", f"b{k}") if k % 3 == 0 else (f"a{k}",):
                    run_id = f"r{k:02d}"
                    row = grokked(run_id, 100, attempt=attempt)
                    write_results(sweep, "pack", attempt, 1, [row], [curve(run_id, STEPS, attempt)])
                if k % 12 == 11:
                    compact(sweep)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(120)
    assert not failed, failed


def test_what_is_read_is_a_consistent_set(objects: ObjectStore) -> None:
    sweep = new_sweep(objects)
    store, seen = Store(objects), 0
    with writer(sweep) as thread:
        while thread.is_alive():
            answer = store.sql(CHECKED)
            assert set(answer.n_rows) <= {1}
            assert set(answer.n_points) <= {len(STEPS)}, "a row whose curve is not there"
            assert len(answer) >= seen, "a finished run was lost"
            seen = len(answer)
    assert store.sql(CHECKED).run_id.tolist() == [f"r{k:02d}" for k in range(N_RUNS)]
    assert Store(objects).sql(CHECKED).equals(store.sql(CHECKED))


def test_a_curve_whose_row_is_not_there_yet_is_not_read(objects: ObjectStore) -> None:
    sweep = new_sweep(objects)
    write_results(sweep, "pack", "a1", 1, [grokked("r", 100)], [curve("r", STEPS)])
    write_results(sweep, "pack", "a2", 1, [], [curve("half", STEPS, "a2")])
    objects.delete(sweep.layout.row_file("pack", "a2", 1))
    store = Store(objects)
    assert set(store.curves().run_id) == {"r"}
    assert len(store.curves(run_ids=["half"])) == 0


@pytest.mark.parametrize("compacted", [False, True])
def test_the_curve_of_a_run_reads_only_files_it_can_be_in(
    compacted: bool, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = new_sweep(objects)
    for k in range(24):
        row = grokked(f"r{k:02d}", 100, attempt=f"a{k}")
        write_results(sweep, "pack", f"a{k}", 1, [row], [curve(f"r{k:02d}", STEPS, f"a{k}")])
    if compacted:
        monkeypatch.setitem(compact.__globals__["MOST_ROWS"], "curves", 8 * len(STEPS))
        compact(sweep)
    expected = Store(objects).arrow("FROM curves WHERE run_id = 'r13' ORDER BY step")
    store, read, get = Store(objects), list[str](), objects.get
    store.runs()
    monkeypatch.setattr(objects, "get", lambda name: read.append(name) or get(name))
    for _ in range(2):
        curves = store.curves(run_ids=["r13"])
        assert pa.Table.from_pandas(curves, schema=CURVES_SCHEMA, preserve_index=False).equals(
            expected.cast(CURVES_SCHEMA)
        )
    assert len([name for name in read if "/curves/" in name]) == 1


def test_a_damaged_compact_file_is_named_and_the_files_it_held_are_read(objects: ObjectStore) -> None:
    sweep = new_sweep(objects)
    for k in range(9):
        write_results(sweep, "p", f"a{k}", 1, [grokked(f"r{k}", 9, attempt=f"a{k}")], [curve(f"r{k}", STEPS, f"a{k}")])
    compact(sweep)
    (name,) = [info.name for info in objects.list(sweep.layout.curves) if "compact-" in info.name]
    data = objects.get(name) or b""
    objects.put(name, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.warns(UserWarning, match=name):
        assert Store(objects).curves(run_ids=["r4"]).step.tolist() == STEPS


def test_a_file_that_goes_before_it_is_read_is_looked_for_where_it_went(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, store = new_sweep(objects), Store(objects)
    for k in range(9):
        write_results(sweep, "p", f"a{k}", 1, [grokked(f"r{k}", 9, attempt=f"a{k}")], [curve(f"r{k}", STEPS, f"a{k}")])
    read = store._reader.files.read

    def compacts_meanwhile(infos: Iterable[ObjectInfo]) -> list[File]:
        listed = list(infos)
        if compact(sweep).files_before:
            for info in list(objects.list(sweep.layout.rows)):
                if "compact-" not in info.name:
                    objects.delete(info.name)
        return read(listed)

    monkeypatch.setattr(store._reader.files, "read", compacts_meanwhile)
    assert sorted(store.runs().run_id) == [f"r{k}" for k in range(9)]


def test_the_readings_so_far_of_a_run_under_way_are_those_of_its_furthest_attempt(objects: ObjectStore) -> None:
    sweep, store = new_sweep(objects), Store(objects)
    finished, lost, now = (Segments(sweep, "pack", attempt) for attempt in ("a", "b", "c"))
    finished.write([grokked("done", 50, attempt="a")], [curve("done", STEPS, "a"), curve("half", [1], "a")])
    lost.write([], [curve("half", [1, 25], "b")])
    now.write([], [curve("half", [1, 25], "c"), curve("new", [1], "c")])
    now.write([], [curve("half", [50], "c")])
    asked = (
        "SELECT run_id, attempt, list(step ORDER BY step) AS steps FROM curves_under_way GROUP BY ALL ORDER BY run_id"
    )
    assert store.arrow(asked).to_pylist() == [
        {"run_id": "half", "attempt": "c", "steps": STEPS},
        {"run_id": "new", "attempt": "c", "steps": [1]},
    ]
    assert set(store.curves().run_id) == {"done"}
    now.write([grokked("half", 100, attempt="c")], [curve("half", [75], "c")], last=True)
    assert store.curves(run_ids=["half"]).step.tolist() == [*STEPS, 75]
    assert store.sql(asked).run_id.tolist() == ["new"]


def test_an_attempt_that_has_not_written_for_long_is_not_under_way(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = new_sweep(objects)
    Segments(sweep, "pack", "a").write([], [curve("half", [1], "a")])
    later = (objects.server_time() or 0.0) + 600
    monkeypatch.setattr(objects, "server_time", lambda: later)
    assert len(Store(objects).sql("FROM curves_under_way")) == 0
