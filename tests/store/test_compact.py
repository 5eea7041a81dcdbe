"""Compaction: the same table from fewer files, whoever reads meanwhile, and whenever it is interrupted."""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from store_rows import row_of

from grok_sweeps.errors import StoreError, UnreadableObjectWarning
from grok_sweeps.plan import Plan
from grok_sweeps.results import Store
from grok_sweeps.schema import CURVES_SCHEMA
from grok_sweeps.store import SweepStore
from grok_sweeps.store import compact as compact_module
from grok_sweeps.store.compact import (
    FEWEST_FILES,
    GRACE_S,
    MOST_ROWS,
    Compacted,
    Known,
    compact,
    held_long_ago,
    is_compact,
    is_worth_compacting,
)
from grok_sweeps.store.lease import Lease, read_lease
from grok_sweeps.store.objects import ObjectStore
from grok_sweeps.store.retention import unneeded_of_sweep
from grok_sweeps.store.rows import RowLog, delete_failed
from tests.written import write_results

N_FILES = 12


def curve(run_id: str, attempt: str, n: int = 5) -> pa.Table:
    values = {c.name: pa.array(np.arange(n) + 0.5) for c in CURVES_SCHEMA if c.type == pa.float64()}
    values |= {"sweep": pa.array(["made"] * n), "run_id": pa.array([run_id] * n), "attempt": pa.array([attempt] * n)}
    values["step"] = pa.array([1, *(25 * k for k in range(1, n))], pa.int64())
    return pa.table([values[name] for name in CURVES_SCHEMA.names], schema=CURVES_SCHEMA)


@pytest.fixture
def sweep(sweep: SweepStore) -> SweepStore:
    """Twelve files of two runs each, one run twice in two attempts, and one failed run alone."""
    for k in range(N_FILES):
        ids = [f"run{2 * k:02d}", f"run{2 * k + 1:02d}" if k else "run04"]
        rows = [row_of(i, attempt=f"a{k}", steps_run=100 + k, sweep="made") for i in ids]
        write_results(sweep, "pack", f"a{k}", k, rows, [curve(i, f"a{k}") for i in ids])
    failed = row_of("broken", outcome="failed", error="no", sweep="made", grokked_step=None, attempt="f")
    write_results(sweep, "pack", "f", 1, [failed], [CURVES_SCHEMA.empty_table()])
    return sweep


Later = Callable[[float], None]


@pytest.fixture
def later(sweep: SweepStore, monkeypatch: pytest.MonkeyPatch) -> Later:
    """Let the store's clock be so many seconds ahead of now."""

    def ahead(seconds: float) -> None:
        monkeypatch.setattr(type(sweep.objects), "server_time", lambda objects: time.time() + seconds)

    return ahead


def plan_of(store: SweepStore) -> Plan:
    plan = store.load_plan()
    assert plan is not None
    return plan


def table(store: SweepStore) -> tuple[pd.DataFrame, pd.DataFrame]:
    results = Store(store.objects)
    return results.runs("made"), results.curves("made")


def files(store: SweepStore, folder: str) -> list[str]:
    return [info.name for info in store.objects.list(folder)]


def same(ours: tuple[pd.DataFrame, pd.DataFrame], theirs: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        keys = [name for name in ("run_id", "step") if name in mine.columns]
        pd.testing.assert_frame_equal(
            mine.sort_values(keys, ignore_index=True), other.sort_values(keys, ignore_index=True)
        )


def test_the_table_is_the_same_from_fewer_files(sweep: SweepStore) -> None:
    before = table(sweep)
    assert compact(sweep) == Compacted(N_FILES + N_FILES + 1, 2)
    same(table(sweep), before)
    assert len(before[1]) == 23 * 5
    log = RowLog(sweep)
    log.refresh()
    assert len(log.rows) == 24
    assert compact(sweep) == Compacted(), "few files are left alone"


def test_what_is_held_is_deleted_when_every_reader_knows_and_a_failed_run_stays_to_be_tried_again(
    sweep: SweepStore, later: Later
) -> None:
    compact(sweep)
    before = table(sweep)
    assert len(files(sweep, sweep.layout.rows)) == N_FILES + 2
    assert held_long_ago(sweep, sweep.layout.rows, time.time()) == []
    later(GRACE_S)
    now = time.time() + GRACE_S
    held = [*held_long_ago(sweep, sweep.layout.rows, now), *held_long_ago(sweep, sweep.layout.curves, now)]
    assert len(held) == N_FILES + N_FILES + 1
    found = [u.name for u in unneeded_of_sweep(sweep, plan_of(sweep), {}, (), at_work=False, now=now)]
    assert set(found) >= set(held)
    for k in range(FEWEST_FILES):
        write_results(sweep, "x", "x", k, [row_of(f"x{k}", attempt="x", sweep="made")], [curve(f"x{k}", "x")])
    compact(sweep)
    later(3 * GRACE_S)
    write_results(sweep, "y", "y", 1, [row_of("y", attempt="y", sweep="made")], [curve("y", "y")])
    assert len(files(sweep, sweep.layout.curves)) < N_FILES
    assert len(table(sweep)[1]) == len(before[1]) + (FEWEST_FILES + 1) * 5
    assert delete_failed(sweep) == 1


def test_what_comes_later_is_added_and_compacted_with_the_rest(sweep: SweepStore) -> None:
    compact(sweep)
    for k in range(20, 30):
        write_results(
            sweep, "late", f"a{k}", k, [row_of(f"late{k}", attempt=f"a{k}", sweep="made")], [curve(f"late{k}", f"a{k}")]
        )
    before = table(sweep)
    assert len(before[0]) == 34
    compact(sweep)
    same(table(sweep), before)


@pytest.mark.parametrize("most", [30, 10**6])
def test_a_crash_between_writing_and_deleting_leaves_the_same_table(
    sweep: SweepStore, monkeypatch: pytest.MonkeyPatch, later: Later, most: int
) -> None:
    monkeypatch.setitem(MOST_ROWS, "curves", most)
    before = table(sweep)
    compact(sweep)
    same(table(sweep), before)
    later(GRACE_S)
    for k in range(FEWEST_FILES):
        write_results(sweep, "x", "x", k, [row_of(f"x{k}", attempt="x", sweep="made")], [curve(f"x{k}", "x")])
    before = table(sweep)
    delete = type(sweep.objects).delete
    deleted = []

    def dies(objects: object, name: str) -> None:
        if name.endswith(".parquet") and len(deleted) == 3:
            raise StoreError("died")
        deleted.append(name)
        delete(objects, name)

    monkeypatch.setattr(type(sweep.objects), "delete", dies)
    with pytest.raises(StoreError, match="died"):
        compact(sweep)
    monkeypatch.setattr(type(sweep.objects), "delete", delete)
    same(table(sweep), before)
    later(GRACE_S)
    compact(sweep)
    same(table(sweep), before)


def test_a_reader_that_listed_before_gets_every_run(sweep: SweepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(sweep)
    results = Store(sweep.objects)
    listing = type(sweep.objects).list
    done = threading.Event()

    def listed_too_early(objects: object, prefix: str) -> object:
        names = list(listing(objects, prefix))
        if prefix == sweep.layout.curves and not done.is_set():
            done.set()
            monkeypatch.undo()
            compact(sweep)
            for name in names:  # every file that was just listed is gone
                sweep.objects.delete(name.name)
        return iter(names)

    monkeypatch.setattr(type(sweep.objects), "list", listed_too_early)
    curves = results.curves("made")
    assert done.is_set()
    same((before[0], curves), before)


def test_a_driver_that_listed_before_sees_every_run(sweep: SweepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = type(sweep.objects).list
    done = threading.Event()

    def listed_too_early(objects: object, prefix: str) -> object:
        names = list(listing(objects, prefix))
        if prefix == sweep.layout.rows and not done.is_set():
            done.set()
            monkeypatch.undo()
            compact(sweep)
            for info in names:
                sweep.objects.delete(info.name)
        return iter(names)

    monkeypatch.setattr(type(sweep.objects), "list", listed_too_early)
    log = RowLog(sweep)
    log.refresh()
    assert done.is_set()
    assert len(log.rows) == 23, "all but the failed run, whose file was deleted too"


def test_a_file_that_cannot_be_read_stays_and_is_named(sweep: SweepStore) -> None:
    name = f"{sweep.layout.rows}/foreign.parquet"
    sweep.objects.put(name, b"not parquet")
    with pytest.warns(UnreadableObjectWarning, match=r"rows/foreign\.parquet"):
        compact(sweep)
    assert name in files(sweep, sweep.layout.rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreadableObjectWarning)
        assert len(table(sweep)[0]) == 24


@pytest.mark.parametrize("error", [SystemExit(143), StoreError("the disk is full")], ids=["SIGTERM", "the store"])
def test_a_compaction_that_an_error_ends_is_done_by_the_next_at_once(
    sweep: SweepStore, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before, put = table(sweep), type(sweep.objects).put

    def ends(objects: ObjectStore, name: str, data: bytes) -> None:
        if is_compact(name):
            raise error
        put(objects, name, data)

    with monkeypatch.context() as ending:
        ending.setattr(type(sweep.objects), "put", ends)
        with pytest.raises(type(error)):
            compact(sweep)
    assert is_worth_compacting(sweep)
    assert compact(sweep).files_after == 2
    assert not is_worth_compacting(sweep)
    same(table(sweep), before)


def test_an_error_in_a_store_that_stays_away_is_the_one_that_is_raised(
    sweep: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(objects: ObjectStore, name: str, data: bytes) -> None:
        raise StoreError(f"away: {name}")

    monkeypatch.setattr(type(sweep.objects), "put", away)
    with pytest.raises(StoreError, match=r"away: .*compact-"):
        compact(sweep)


def test_where_nothing_is_to_be_compacted_no_file_is_read_whole(
    sweep: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact(sweep)
    read: list[str] = []
    monkeypatch.setattr(compact_module, "get_each", lambda objects, names: read.extend(names) or [None] * len(names))
    assert compact(sweep) == Compacted()
    assert read == []


def test_what_a_long_sweep_compacts_is_read_a_constant_number_of_times(
    sweep: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MOST_ROWS, "curves", 20)
    known: Known = {}
    n_read = Counter[str]()
    get = sweep.objects.get
    monkeypatch.setattr(sweep.objects, "get", lambda name: (n_read.update([name]), get(name))[1])
    for again in range(4):
        for k in range(N_FILES):
            attempt = f"x{again}"
            row = row_of(f"{attempt}-{k}", attempt=attempt, sweep="made")
            write_results(sweep, "x", attempt, k + 1, [row], [curve(f"{attempt}-{k}", attempt)])
        compact(sweep, known=known)
    compact_curves = {name: n for name, n in n_read.items() if "/curves/compact-" in name}
    assert len([name for name in compact_curves if name.endswith("-full.parquet")]) > 9
    assert max(compact_curves.values()) <= 2


@pytest.mark.parametrize("n_checks", [0, 1], ids=["before it writes curves", "before it writes rows"])
def test_an_owner_that_slept_writes_nothing_more(sweep: SweepStore, n_checks: int) -> None:
    before = table(sweep)
    sleeper = Lease(sweep, {"host": "a"}, 1)
    assert sleeper.begin(None)
    others: list[Compacted] = []
    checks: list[int] = []

    def sleeps() -> None:
        """Let another driver take over and do everything at the moment when this one looks at its lease."""
        if len(checks) == n_checks:
            waker = Lease(sweep, {"host": "b"}, 2)
            assert waker.begin(read_lease(sweep))
            others.append(compact(sweep, waker.check))
        checks.append(1)
        sleeper.check()

    mine = compact(sweep, sleeps)
    assert mine.files_after == n_checks, "it has lost its lease"
    assert mine.files_after + others[0].files_after == 2
    for folder in (sweep.layout.rows, sweep.layout.curves):
        assert sum(is_compact(name) for name in files(sweep, folder)) == 1
    same(table(sweep), before)


def test_an_owner_that_slept_deletes_nothing_more(sweep: SweepStore, later: Later) -> None:
    compact(sweep)
    later(GRACE_S)
    for k in range(FEWEST_FILES):
        write_results(sweep, "x", "x", k, [row_of(f"x{k}", attempt="x", sweep="made")], [curve(f"x{k}", "x")])
    before = files(sweep, "made")
    sleeper = Lease(sweep, {"host": "a"}, 1)
    assert sleeper.begin(None)
    assert Lease(sweep, {"host": "b"}, 2).begin(read_lease(sweep))
    assert compact(sweep, sleeper.check) == Compacted()
    assert set(files(sweep, "made")) == {*before, sweep.layout.lease}


def test_two_at_once_without_a_lease_change_nothing_in_the_table(sweep: SweepStore) -> None:
    before = table(sweep)
    done: list[Compacted] = []
    threads = [threading.Thread(target=lambda: done.append(compact(sweep))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 2
    same(table(sweep), before)
