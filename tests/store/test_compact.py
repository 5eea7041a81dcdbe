"""Compaction: the same table from fewer files, whoever reads meanwhile, and whenever it is interrupted."""

from __future__ import annotations

import threading
import time
import warnings
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
from grok_sweeps.store.compact import CLAIM_S, FEWEST_FILES, GRACE_S, MOST_ROWS, Compacted, compact, held_long_ago
from grok_sweeps.store.documents import encode_document
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
    assert not sweep.objects.get(sweep.layout.compacting)
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
    assert len(held_long_ago(sweep, sweep.layout.rows)) == 0
    later(GRACE_S)
    found = [u.name for u in unneeded_of_sweep(sweep, plan_of(sweep), {}, (), at_work=False, now=0.0)]
    assert set(found) >= held_long_ago(sweep, sweep.layout.rows) | held_long_ago(sweep, sweep.layout.curves)
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
    sweep.objects.delete(sweep.layout.compacting)
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
    assert sweep.objects.create(sweep.layout.compacting, encode_document({}))
    assert compact(sweep) == Compacted()
    later(CLAIM_S + 60)
    assert compact(sweep).files_after == 2
