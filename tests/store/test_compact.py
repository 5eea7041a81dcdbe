"""Compaction: the same table from fewer files, whoever reads meanwhile, and whenever it is interrupted."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, cast

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
from grok_sweeps.store import claim as claim_module
from grok_sweeps.store import compact as compact_module
from grok_sweeps.store.claim import LOST_S, claimed, standing
from grok_sweeps.store.compact import (
    FEWEST_FILES,
    GRACE_S,
    MOST_ROWS,
    Compacted,
    compact,
    cut_short,
    held_long_ago,
    is_compact,
)
from grok_sweeps.store.documents import encode_document
from grok_sweeps.store.objects import ObjectInfo, ObjectStore
from grok_sweeps.store.retention import unneeded_of_sweep
from grok_sweeps.store.rows import RowLog, delete_failed, write_results

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
    assert standing(sweep.objects, sweep.layout.compacting, None).given_back
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
    later(GRACE_S + LOST_S + 60)
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


def test_one_process_at_a_time_and_a_claim_without_owner_expires(sweep: SweepStore, later: Later) -> None:
    with claimed(sweep.objects, sweep.layout.compacting) as claim:
        assert claim is not None
        assert compact(sweep) == Compacted()
        assert not cut_short(sweep, time.time())
        later(LOST_S + 60)
        assert cut_short(sweep, time.time() + LOST_S + 60)
        assert compact(sweep).files_after == 2
        assert not claim.is_newest(), "the owner that slept sees that another has taken over"
    assert standing(sweep.objects, sweep.layout.compacting, None).given_back


def test_a_compaction_that_died_before_it_was_given_back_is_ended_by_the_next(sweep: SweepStore, later: Later) -> None:
    compact(sweep)
    number = standing(sweep.objects, sweep.layout.compacting, None).number
    sweep.objects.create(f"{sweep.layout.compacting}/{number + 1:09d}.json", encode_document({"owner": "dead"}))
    assert compact(sweep) == Compacted()
    later(LOST_S + 60)
    assert cut_short(sweep, time.time() + LOST_S + 60)
    compact(sweep)
    assert not cut_short(sweep, time.time() + LOST_S + 60)
    assert len(files(sweep, sweep.layout.compacting)) == 1


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
    assert cut_short(sweep, sweep.objects.server_time())
    assert compact(sweep).files_after == 2
    assert not cut_short(sweep, sweep.objects.server_time())
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


class Turns:
    """Lets two threads take turns at the calls of a store, as a schedule of 0s and 1s says; who is alone goes on."""

    def __init__(self, schedule: list[int]) -> None:
        self._schedule, self._at, self._ended = schedule, 0, set[int]()
        self._changed = threading.Condition()

    def wait(self, who: int) -> None:
        with self._changed:
            mine = self._changed.wait_for(lambda: 1 - who in self._ended or self._next() == who, timeout=60)
            assert mine, "the other thread has stopped"
            self._at += 1
            self._changed.notify_all()

    def end(self, who: int) -> None:
        with self._changed:
            self._ended.add(who)
            self._changed.notify_all()

    def _next(self) -> int:
        return self._schedule[self._at % len(self._schedule)]


class InTurns:
    """A store every call of which waits for its turn, at a clock of its own."""

    def __init__(self, objects: ObjectStore, turns: Turns, who: int, now: float) -> None:
        self._objects, self._turns, self._who, self._now = objects, turns, who, now

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._objects, name)
        if not callable(value) or name == "getter":
            return value

        def in_turn(*arguments: Any) -> Any:
            self._turns.wait(self._who)
            if name == "server_time":
                return self._now
            done = value(*arguments)
            return list(done) if name == "list" else done

        return in_turn


SCHEDULES = [
    *([0] * a + [1] * b for a in range(1, 6) for b in (1, 2, 3)),
    *([1] * a + [0] * 1000 + [1] * 1000 for a in range(1, 16)),
    *(random.Random(seed).choices((0, 1), k=97) for seed in range(10)),
]


def test_two_finishers_after_a_crash_never_both_compact(sweep: SweepStore) -> None:
    """At each of many orders of their calls one of them has the claim, and nothing is held twice."""
    if sweep.objects.parallel > 1:
        pytest.skip("many orders take long across a network; two are tried below")
    for schedule in SCHEDULES:
        both_after_a_crash(sweep, schedule)
        for info in list(sweep.objects.list(sweep.sweep)):
            if is_compact(info.name) or info.name.startswith(f"{sweep.layout.compacting}/"):
                sweep.objects.delete(info.name)


@pytest.mark.parametrize("schedule", [[0, 1], [0, 0, 1, 1, 1]])
def test_two_finishers_after_a_crash_on_every_backend(sweep: SweepStore, schedule: list[int]) -> None:
    before = table(sweep)
    both_after_a_crash(sweep, schedule)
    same(table(sweep), before)


def both_after_a_crash(sweep: SweepStore, schedule: list[int]) -> None:
    """Two finishers that both find a claim whose owner is dead."""
    sweep.objects.create(f"{sweep.layout.compacting}/{1:09d}.json", encode_document({"owner": "dead"}))
    turns, now = Turns(schedule), time.time() + LOST_S + 60
    done: list[Compacted] = []

    def finish(who: int) -> None:
        try:
            # The winner's new claim is young by the store's clock, whatever the age that is pretended for the first.
            done.append(
                compact(SweepStore(cast(ObjectStore, Dated(InTurns(sweep.objects, turns, who, now), now)), "made"))
            )
        finally:
            turns.end(who)

    threads = [threading.Thread(target=finish, args=(who,)) for who in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(d.files_after for d in done) == [0, 2], "one of them compacts"
    for folder in (sweep.layout.rows, sweep.layout.curves):
        assert sum(is_compact(name) for name in files(sweep, folder)) == 1
    assert not cut_short(sweep, now)


class Dated:
    """A store whose first claim is old and whose others are young."""

    def __init__(self, objects: Any, now: float) -> None:
        self._objects, self._now = objects, now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def list(self, prefix: str) -> Any:
        for info in self._objects.list(prefix):
            old = info.name.endswith(f"/{1:09d}.json")
            yield info if old else ObjectInfo(info.name, info.size, self._now)


@pytest.mark.parametrize("looks_before", [2, 3], ids=["before it writes curves", "before it writes rows"])
def test_an_owner_that_slept_writes_nothing_more(
    sweep: SweepStore, monkeypatch: pytest.MonkeyPatch, looks_before: int
) -> None:
    before = table(sweep)
    listing, server_time = type(sweep.objects).list, type(sweep.objects).server_time
    looks: list[str] = []
    others: list[Compacted] = []

    def sleeps(objects: ObjectStore, folder: str) -> Any:
        """Let another finisher do everything at the moment when this one looks whether it still has the claim."""
        if folder == sweep.layout.compacting:
            looks.append(folder)
            if len(looks) == looks_before + 1:
                monkeypatch.setattr(type(objects), "server_time", lambda _: time.time() + LOST_S + 60)
                others.append(compact(sweep))
                monkeypatch.setattr(type(objects), "server_time", server_time)
        return listing(objects, folder)

    monkeypatch.setattr(type(sweep.objects), "list", sleeps)
    mine = compact(sweep)
    assert mine.files_after == looks_before - 2, "it has lost its claim"
    assert mine.files_after + others[0].files_after == 2
    same(table(sweep), before)


def test_a_claim_is_written_anew_while_its_owner_works(sweep: SweepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_module, "REFRESH_S", 0.01)
    put, written = type(sweep.objects).put, threading.Event()

    def noted(objects: ObjectStore, name: str, data: bytes) -> None:
        put(objects, name, data)
        written.set()

    monkeypatch.setattr(type(sweep.objects), "put", noted)
    with claimed(sweep.objects, sweep.layout.compacting) as claim:
        assert claim is not None
        assert written.wait(60)
        assert standing(sweep.objects, sweep.layout.compacting, time.time()).held
