"""What the driver makes of things that go wrong beside the training: an event, and the sweep goes on."""

from __future__ import annotations

import errno
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest
from cluster_processes import wait_until
from ray import tune

import grok_sweeps.cluster.compactor
import grok_sweeps.cluster.driver
import grok_sweeps.cluster.journal
import grok_sweeps.cluster.monitor
from grok_sweeps.cluster.compactor import Compactor
from grok_sweeps.cluster.journal import Journal, driver_identity
from grok_sweeps.cluster.local_ray import LocalRay
from grok_sweeps.cluster.resources import Resources
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.errors import ClusterError, LeaseLostError
from grok_sweeps.schema import CURVES_SCHEMA
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore
from grok_sweeps.store.compact import Compacted
from grok_sweeps.store.lease import LEASE_S, Lease, read_lease
from grok_sweeps.store.rows import RowLog, RowsSoFar
from grok_sweeps.store.take_lease import take_lease
from tests.monitors import monitor_of
from tests.results.results_rows import grokked
from tests.written import write_results

WAIT_S = 60.0


def test_an_older_file_that_cannot_be_compacted_is_an_event(
    sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    failing = Mock(side_effect=pa.ArrowInvalid("cannot cast\nthat"))
    monkeypatch.setattr(grok_sweeps.cluster.compactor, "compact", failing)
    Compactor(sweep_store, RowLog(sweep_store), said.append).compact()
    assert said == ["not compacted: cannot cast that"]


@pytest.mark.parametrize("broken", ["the rows", "the view"])
def test_the_monitor_goes_on_after_any_exception(
    broken: str, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = sweep_store.load_plan()
    assert plan is not None
    view, again, told = Mock(), threading.Event(), list[str]()
    monkeypatch.setattr(grok_sweeps.cluster.monitor, "REFRESH_S", 0.01)
    monitor = monitor_of(sweep_store, plan, view)
    refresh = monitor.log.refresh
    view.event.side_effect = told.append

    def fails_first(*_: object) -> Any:
        if again.is_set():
            return None
        again.set()
        raise OSError("a broken pipe")

    if broken == "the view":
        view.update.side_effect = fails_first
        view.event.side_effect = OSError("a broken pipe")
    monitor.start()
    assert again.wait(WAIT_S) if broken == "the view" else True
    if broken == "the rows":
        monkeypatch.setattr(monitor.log, "refresh", lambda: fails_first() or refresh())
        assert again.wait(WAIT_S)
    looked = threading.Event()
    monkeypatch.setattr(monitor, "_refresh", looked.set)
    assert looked.wait(WAIT_S), "the thread is alive"
    monkeypatch.undo()
    view.event.side_effect = None
    monitor.finish("interrupted")
    assert broken == "the view" or any("a broken pipe" in text for text in told)


def test_files_are_compacted_while_a_sweep_goes_on_when_enough_are_new(
    sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = grok_sweeps.cluster.compactor
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(module, "FEWEST_NEW", 10)
    compacted: list[int] = []
    log = SimpleNamespace(n_files=5)

    def compact(*_: object, at_the_end: bool, **__: object) -> Compacted:
        assert not at_the_end
        compacted.append(log.n_files)
        return Compacted()

    monkeypatch.setattr(module, "compact", compact)
    with Compactor(sweep_store, log, Mock()) as compactor:  # type: ignore[arg-type]
        for n_files, times in ((14, 0), (15, 1), (24, 1), (25, 2), (34, 2), (36, 3)):
            log.n_files = n_files
            if times > len(compacted):
                wait_until(lambda times=times: len(compacted) == times, f"a compaction at {n_files} files")
    assert compactor is not None
    assert compacted == [15, 25, 36]


def test_a_request_to_stop_reaches_the_driver_that_it_names_and_no_other(sweep_store: SweepStore) -> None:
    plan = sweep_store.load_plan()
    assert plan is not None
    stops = {"named": StopOnSignal(), "other": StopOnSignal()}
    journals = {name: Journal(sweep_store, {"id": name}, Mock()) for name in stops}
    sweep_store.ask_to_stop("named", "cancelled by a test")
    for name, stopped in stops.items():
        monitor = monitor_of(sweep_store, plan, stopped=stopped, journal=journals[name])
        monitor._refresh(force=True)
        monitor._refresh(force=True)
    assert (stops["named"].is_set(), stops["named"].reason) == (True, "cancelled by a test")
    assert not stops["other"].is_set()
    log = sweep_store.objects.get(sweep_store.layout.log("named"))
    assert log is not None
    assert b"stopping: cancelled by a test" in log


def test_a_journal_keeps_its_last_lines_and_says_how_many_are_gone(
    sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grok_sweeps.cluster.journal, "MOST_LINES", 3)
    shown: list[str] = []
    journal = Journal(sweep_store, {"id": "20260101T000000-aaaaaa"}, shown.append)
    journal.write()
    assert sweep_store.load_log() is None
    for k in (0, 1, 2, 3, 4, 4):
        journal.say(f"line {k}")
    journal.write()
    kept = (sweep_store.load_log() or "").splitlines()
    assert kept[0] == "(2 earlier lines are not kept)"
    assert [line.split(" ", 1)[1] for line in kept[1:]] == ["line 2", "line 3", "line 4"]
    assert shown == [f"line {k}" for k in range(5)], "what repeats itself is said once"


@pytest.mark.parametrize("zone", ["America/St_Johns", "Asia/Tokyo"])
def test_times_in_events_and_in_the_log_say_their_zone(
    zone: str, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        before = datetime.now(UTC).replace(microsecond=0)
        journal = Journal(sweep_store, driver_identity(), Mock())
        monitor = monitor_of(sweep_store, sweep_store.load_plan() or Mock(), journal=journal)
        monitor.start()
        journal.say("something happened")
        monitor.finish("finished")
        after = datetime.now(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    status = sweep_store.load_status() or {}
    said = [*status["events"], *(sweep_store.load_log() or "").splitlines()]
    times = [line.split(" ")[0] for line in said if line.endswith("something happened")]
    assert len(times) == 2
    times += [status["started_at"], status["heartbeat_at"], status["driver"]["id"].partition("-")[0]]
    for text in times:
        told = datetime.fromisoformat(text)
        assert told.tzinfo is not None, text
        assert before <= told <= after, text


def test_a_full_temporary_folder_of_ray_is_the_sweep_s_reason(
    sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Mock(**{"return_value.fit.side_effect": OSError(errno.ENOSPC, "No space left on device")})
    monkeypatch.setattr(tune, "Tuner", full)
    session = LocalRay(Resources(1, None, "cpu", None))
    monkeypatch.setattr(session, "start", lambda: None)
    session.scratch = "/small"
    monkeypatch.setattr(session, "close", lambda: None)
    plan, text = sweep_store.load_plan(), sweep_store.load_spec_text()
    assert plan is not None
    assert text is not None
    with pytest.raises(ClusterError, match=r"temporary folder /small: .*No space left on device.*RAY_TMPDIR"):
        grok_sweeps.cluster.driver.run_sweep(sweep_store, text, plan, parse_spec(text).execution, session, Mock())
    status = sweep_store.load_status() or {}
    assert status["state"] == "failed"
    assert "No space left on device" in status["reason"]
    assert "\n" not in status["reason"]


def test_a_driver_says_that_the_last_one_stopped_without_giving_a_reason(sweep_store: SweepStore) -> None:
    plan = sweep_store.load_plan()
    assert plan is not None
    before = {"sweep": sweep_store.sweep, "state": "running", "heartbeat_at": "2026-01-01T00:00:00+00:00"}
    sweep_store.put_status(before)
    monitor = monitor_of(sweep_store, plan)
    monitor.start()
    events = monitor.finish("finished").events
    assert any("stopped without giving a reason; last heartbeat at 2026-01-01T00:00:00" in event for event in events)


def test_a_driver_that_was_replaced_stops_and_leaves_the_status_to_the_other(sweep_store: SweepStore) -> None:
    plan, stopped = sweep_store.load_plan(), StopOnSignal()
    assert plan is not None
    lease = take_lease(sweep_store, {"host": "here"})
    monitor = monitor_of(sweep_store, plan, stopped=stopped, lease=lease)
    monitor._refresh(force=True)
    assert (sweep_store.load_status() or {})["fence"] == 1
    assert not stopped.is_set()
    other = Lease(sweep_store, {"host": "there"}, 2)
    assert other.begin(read_lease(sweep_store))
    monitor_of(sweep_store, plan, lease=other)._refresh(force=True)
    with pytest.raises(LeaseLostError):
        lease.renew()
    monitor._refresh(force=True)
    assert stopped.reason == "another driver has taken over the sweep"
    monitor._refresh(force=True)
    assert (sweep_store.load_status() or {})["fence"] == 2


def test_a_driver_that_could_not_renew_its_lease_for_a_while_still_writes_its_last_heartbeat(
    sweep_store: SweepStore,
) -> None:
    plan = sweep_store.load_plan()
    assert plan is not None
    now = [0.0]
    lease = take_lease(sweep_store, {"host": "here"}, clock=lambda: now[0])
    monitor = monitor_of(sweep_store, plan, lease=lease)
    monitor.start()
    now[0] = 2 * LEASE_S
    assert not lease.holds, "the store was away"
    monitor.finish("finished")
    assert (sweep_store.load_status() or {})["state"] == "finished"


def test_a_look_at_a_sweep_goes_through_no_rows_but_the_new_ones(
    sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, view = sweep_store.load_plan(), Mock()
    assert plan is not None
    first, second = (grokked(run.run_id, 500) for run in plan.runs)
    curves = [CURVES_SCHEMA.empty_table()]
    monitor = monitor_of(sweep_store, plan, view)
    write_results(sweep_store, "pack", "a1", 1, [first], curves)
    monitor._refresh(force=True)
    monkeypatch.setattr(RowsSoFar, "__iter__", Mock(side_effect=AssertionError("all rows")))
    add = Mock(wraps=monitor._finished.add)
    monkeypatch.setattr(monitor._finished, "add", add)
    write_results(sweep_store, "pack", "a1", 2, [second], curves)
    assert monitor._refresh(force=True).finished == 2
    assert monitor._refresh(force=True).finished == 2
    assert [set(call.args[0]) for call in add.call_args_list] == [{second["run_id"]}, set()]
    (event,) = [call.args[0] for call in view.event.call_args_list]
    assert event.startswith("cell p")
    assert "2 of 2 grokked" in event
