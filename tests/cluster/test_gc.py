"""gc and list: what a sweep at work needs is never listed, whatever the clocks, and what was cancelled is so called."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from grok_sweeps.cluster.cli import status as status_module
from grok_sweeps.cluster.cli.app import app
from grok_sweeps.cluster.jobs import Job
from grok_sweeps.errors import LeaseHeldError, StoreError
from grok_sweeps.plan import make_plan
from grok_sweeps.schema import CURVES_SCHEMA, RUN_COLUMNS
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.lease import read_lease
from grok_sweeps.store.local import LocalObjects
from grok_sweeps.store.retention import AT_WORK_S, LEFT_BEHIND, LEFTOVER_AGE_S, PACK_AGE_S
from grok_sweeps.store.take_lease import driver_lease
from tests.written import write_results

SPEC = "name: made\nruns: {p: 5, seeds: 4, max_steps: 200}\n"
PACKS = "packs of a finished sweep"
"""What gc says of them."""


def row_of(run_id: str, **values: Any) -> dict[str, Any]:
    never_null: dict[Any, Any] = {pa.string(): "x", pa.int64(): 1, pa.float64(): 1.0, pa.bool_(): False}
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    row = {c.name: None if c.null else never_null.get(c.dtype, noon) for c in RUN_COLUMNS}
    return {**row, "sweep": "made", "run_id": run_id, "attempt": "a", **values}


@pytest.fixture
def sweep(tmp_path: Path) -> SweepStore:
    """A sweep all of whose runs are censored, with an old pack."""
    store = SweepStore(open_objects(str(tmp_path / "store")), "made")
    plan = make_plan(parse_spec(SPEC))
    store.create(SPEC, plan)
    rows = [row_of(run_id, outcome="censored", steps_run=200, grokked_step=None) for run_id in plan.run_ids()]
    write_results(store, "pack", "a", 1, rows, [CURVES_SCHEMA.empty_table()])
    store.put_pack("p1", {"runs": []})
    written_ago(store, store.layout.pack("p1"), 10 * PACK_AGE_S)
    return store


def written_ago(store: SweepStore, name: str, seconds: float) -> None:
    path = store.objects.path(name)
    assert path is not None
    os.utime(path, (time.time() - seconds,) * 2)


def heartbeat(store: SweepStore, ago_s: float = 0.0, **values: Any) -> None:
    """A heartbeat `ago_s` old by the driver's own clock, written now by the store's."""
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    store.put_status({"state": "running", "heartbeat_at": at.isoformat(), **values})


@pytest.fixture
def gc(sweep: SweepStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def run(*arguments: str, command: str = "gc") -> str:
        monkeypatch.setenv("COLUMNS", "300")
        done = CliRunner().invoke(app, [command, *arguments, "--store", sweep.objects.uri])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    return run


def test_packs_of_a_finished_sweep_are_listed(gc: Callable[..., str]) -> None:
    assert PACKS in gc("made")


@pytest.mark.parametrize("ago_s", [-7200.0, 7200.0], ids=["the driver's clock ahead", "the driver's clock behind"])
def test_a_sweep_at_work_keeps_its_packs_whatever_the_drivers_clock(
    sweep: SweepStore, gc: Callable[..., str], ago_s: float
) -> None:
    heartbeat(sweep, ago_s)
    assert PACKS not in gc("made", "--delete")
    assert sweep.load_pack("p1")["runs"] == []
    written_ago(sweep, sweep.layout.status, 2 * AT_WORK_S)
    assert PACKS in gc("made"), "a driver that died hours ago by the store's clock"


def test_ages_are_by_the_stores_clock_not_this_machines(
    sweep: SweepStore, gc: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written_ago(sweep, sweep.layout.pack("p1"), 0.0)
    heartbeat(sweep)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100 * LEFTOVER_AGE_S)
    assert "nothing to delete" in gc("made")


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_a_longer_budget_that_is_not_done_needs_its_packs(
    sweep: SweepStore, gc: Callable[..., str], state: str
) -> None:
    heartbeat(sweep, extend_to=400, state=state)
    written_ago(sweep, sweep.layout.status, 2 * AT_WORK_S)
    assert PACKS not in gc("made")
    heartbeat(sweep, extend_to=400, state="finished")
    assert PACKS in gc("made")


def test_a_driver_that_begins_between_listing_and_deleting_keeps_its_packs(
    sweep: SweepStore, gc: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gc_module = sys.modules["grok_sweeps.cluster.cli.gc"]
    by_why = gc_module._by_why

    def begins(items: Any) -> Any:
        heartbeat(sweep)
        return by_why(items)

    monkeypatch.setattr(gc_module, "_by_why", begins)
    gc("made", "--delete")
    assert sweep.load_pack("p1")["runs"] == []


def test_without_delete_a_store_that_cannot_be_written_is_looked_at(
    sweep: SweepStore, gc: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Any:
        raise StoreError("store x: cannot write: the file system is read-only.")

    for name in ("put", "create", "delete", "_written"):
        monkeypatch.setattr(LocalObjects, name, refused)
    said = " ".join(gc("made").split())
    assert PACKS in said
    assert "ages are counted up to the store's newest object" in said
    written_ago(sweep, sweep.layout.pack("p1"), 0.0)
    assert PACKS not in gc("made"), "younger than can be judged"


def test_what_earlier_versions_and_killed_processes_left_is_listed(sweep: SweepStore, gc: Callable[..., str]) -> None:
    left = [f"{sweep.layout.compacting}/000000001.json", f"{sweep.layout.compacting}.json", "made/probe-0123"]
    for name in left:
        sweep.objects.put(name, b"x")
    assert LEFT_BEHIND not in gc("made"), "they may be in use"
    for name in left:
        written_ago(sweep, name, 2 * LEFTOVER_AGE_S)
    assert LEFT_BEHIND in gc("made", "--delete")
    assert all(sweep.objects.get(name) is None for name in left)
    lease = read_lease(sweep)
    assert lease is not None
    assert (lease.released, lease.driver["command"]) == (True, "gc --delete")


def test_nothing_is_deleted_of_a_sweep_that_is_driven(
    sweep: SweepStore, gc: Callable[..., str], quick_lease: None
) -> None:
    with driver_lease(sweep, {"host": "far-away"}):
        assert PACKS in gc("made")
        done = CliRunner().invoke(app, ["gc", "--delete", "--store", sweep.objects.uri])
        assert isinstance(done.exception, LeaseHeldError)
        assert (
            "nothing was deleted of 1 sweep(s) that are driven, the first: sweep 'made' is driven by a driver"
            in str(done.exception)
        )
        assert sweep.load_pack("p1")["runs"] == []
    assert PACKS in gc("made", "--delete")


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        ({"state": "interrupted", "reason": "cancelled by me on a host"}, "cancelled"),
        ({"state": "interrupted", "reason": "the budget is spent"}, "interrupted"),
        ({"state": "failed"}, "FAILED"),
        ({"state": "interrupted", "reason": "cancelled by me", "driver": {"submission_id": "other"}}, "FAILED"),
    ],
)
def test_a_job_that_was_told_to_stop_is_not_listed_as_failed(
    sweep: SweepStore, gc: Callable[..., str], monkeypatch: pytest.MonkeyPatch, left: dict[str, Any], shown: str
) -> None:
    class Server:
        def __init__(self, *_: object) -> None:
            pass

        def jobs(self) -> list[Job]:
            return [Job("job1", "FAILED", "exit code 1")]

    monkeypatch.setattr(status_module, "JobsServer", Server)
    sweep.put_job({"submission_id": "job1", "address": "http://head:8265"})
    heartbeat(sweep, **{"driver": {"submission_id": "job1"}, **left})
    assert f"job1: {shown} on http://head:8265" in gc(command="list")
