"""While workers write and a driver compacts, an answer is of finished runs: each once, each with its whole curve."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pytest
from results_rows import curve, grokked, new_sweep

from grok_sweeps.results import Store, files, merged
from grok_sweeps.schema import CURVES_SCHEMA
from grok_sweeps.store import ObjectStore, SweepStore, packed
from grok_sweeps.store.compact import compact
from grok_sweeps.store.rows import write_results

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


def test_what_is_read_is_a_consistent_set(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged, "FEWEST", 3)
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


@pytest.mark.parametrize("most_packed", [0, 32], ids=["as Parquet", "packed"])
def test_small_files_merged_on_the_way_change_no_answer(
    most_packed: int, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MOST_ROWS", most_packed)
    monkeypatch.setattr(files, "MANY", 1)
    monkeypatch.setattr(merged, "MOST_FILES", 4)
    monkeypatch.setattr(merged, "MOST_PACKED", 4)
    sweep = new_sweep(objects)
    queries = ("FROM runs ORDER BY run_id", "FROM cells", "FROM curves ORDER BY run_id, step")
    store = Store(objects)

    def check() -> None:
        with monkeypatch.context() as merging:
            for query in queries:
                merging.setattr(merged, "FEWEST", 2)
                answer = store.arrow(query)
                merging.setattr(merged, "FEWEST", 10**6)
                assert answer.equals(Store(objects).arrow(query))

    for k in range(12):
        for attempt in (f"b{k}", f"a{k}") if k % 4 == 1 else (f"a{k}",):
            row = grokked(f"r{k:02d}", 100 + k, attempt=attempt, steps_run=200 + (attempt[0] == "b"))
            write_results(sweep, "pack", attempt, 1, [row], [curve(f"r{k:02d}", STEPS, attempt)])
        check()
    assert len(store._reader._merger._merged) > 0
    if (fetched := store._reader.files._folder) is not None:
        n_rows, n_curves = (
            len(list((fetched / folder).iterdir())) for folder in (sweep.layout.rows, sweep.layout.curves)
        )
        assert (n_curves, n_rows < n_curves) == (15, most_packed > 0), "what is merged as it was fetched is not written"
    compact(sweep)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check()
    assert store.runs(attempt=[f"b{k}" for k in (1, 5, 9)]).run_id.tolist() == ["r01", "r05", "r09"]


def test_a_small_file_that_goes_before_it_is_needed_is_looked_for_where_it_went(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MANY", 1)
    sweep, store = new_sweep(objects), Store(objects)
    for k in range(9):
        write_results(sweep, "p", f"a{k}", 1, [grokked(f"r{k}", 9, attempt=f"a{k}")], [curve(f"r{k}", STEPS, f"a{k}")])
    merged_of = store._reader._merger.merged

    def compacts_meanwhile(files: Sequence[files.File]) -> merged.Merged:
        if compact(sweep).files_before:
            for info in list(objects.list(sweep.layout.rows)):
                if "compact-" not in info.name:
                    objects.delete(info.name)
        return merged_of(files)

    monkeypatch.setattr(store._reader._merger, "merged", compacts_meanwhile)
    assert sorted(store.runs().run_id) == [f"r{k}" for k in range(9)]
