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

import grok_sweeps.cluster.driver
import grok_sweeps.cluster.driver_log
import grok_sweeps.cluster.monitor
from grok_sweeps.cluster.driver_log import DriverLog
from grok_sweeps.cluster.local_ray import LocalRay
from grok_sweeps.cluster.monitor import Monitor
from grok_sweeps.cluster.pack_progress import PackProgress
from grok_sweeps.cluster.pack_queue import PackQueue
from grok_sweeps.cluster.pack_runner import PackRunner
from grok_sweeps.cluster.resources import Resources
from grok_sweeps.cluster.stalls import Stalls
from grok_sweeps.errors import ClusterError
from grok_sweeps.plan import make_plan
from grok_sweeps.plan.packs import pack_of
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore

WAIT_S = 60.0


def progress(monitor: Monitor, queue: PackQueue, **parts: Any) -> PackProgress:
    """What hears of trials, on a machine with one node."""
    session = parts.get("session") or LocalRay(Resources(1, None, "cpu", None))
    return PackProgress(monitor, queue, lambda _: frozenset(), parts.get("stalls") or Stalls(300.0), session)


@pytest.mark.parametrize(
    ("last", "becomes"),
    [({"stopped": True}, {"pending": 1}), ({}, {"done": 1})],
)
def test_a_pack_whose_attempt_ended_early_still_waits(last: dict[str, Any], becomes: dict[str, int]) -> None:
    monitor = Mock(spec=Monitor)
    trial = SimpleNamespace(trial_id="t", config={"pack": "pack"}, last_result=last)
    progress(monitor, Mock(spec=PackQueue)).on_trial_complete(1, [trial], trial)
    monitor.pack_ended.assert_called_once_with("pack", **becomes)


def test_an_older_file_that_cannot_be_compacted_is_an_event(
    sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Mock(spec=Monitor)
    monkeypatch.setattr(grok_sweeps.cluster.driver, "compact", Mock(side_effect=pa.ArrowInvalid("cannot cast\nthat")))
    grok_sweeps.cluster.driver._compact(sweep_store, monitor)
    monitor.event.assert_called_once_with("not compacted: cannot cast that")


@pytest.mark.parametrize("broken", ["the rows", "the view"])
def test_the_monitor_goes_on_after_any_exception(
    broken: str, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = sweep_store.load_plan()
    assert plan is not None
    view, again, told = Mock(), threading.Event(), list[str]()
    monkeypatch.setattr(grok_sweeps.cluster.monitor, "REFRESH_S", 0.01)
    monitor = Monitor(sweep_store, plan, view)
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


class Clock:
    """Seconds that a test moves on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pack_has_stalled_when_its_steps_stand_still_however_often_it_reports() -> None:
    clock = Clock()
    stalls = Stalls(10.0, clock)
    stalls.began("starts")
    stalls.began("trains")
    for k in range(4):
        clock.now += 4.0
        stalls.reported("trains", k)
        stalls.reported("reports", 7)
    assert sorted(stalls.stalled()) == ["reports", "starts"]
    assert stalls.stalled() == [], "each is told once"
    stalls.ended("starts")
    clock.now += 11.0
    assert sorted(stalls.stalled()) == ["reports", "trains"]


def test_a_machine_that_cannot_train_ends_the_sweep_only_where_there_is_no_other() -> None:
    for elsewhere in (False, True):
        monitor, session = Mock(spec=Monitor), Mock()
        session.workers.return_value = 1
        monitor.has_written.return_value = False
        session.has_room_without.return_value = elsewhere
        (run,) = make_plan(parse_spec("name: made\nruns: {p: 5, seeds: 1}\n")).runs
        queue = PackQueue([pack_of([run], 1)], 3)
        attempt = queue.take()
        assert attempt is not None
        hears = PackProgress(monitor, queue, lambda _: frozenset({run.run_id}), Stalls(300.0), session)  # noqa: B023
        trial = Mock(trial_id="t", config={"pack": attempt.pack.pack_id}, last_result={"node": "a"})
        hears.on_trial_start(1, [trial], trial)
        hears.on_trial_result(2, [trial], trial, {"useless": "no access", "files_written": 0, "node": "a"})
        hears.on_trial_error(3, [trial], trial)
        session.has_room_without.assert_called_with(frozenset({"a"}))
        assert monitor.sweep_failed.called is not elsewhere
        again = queue.take()
        assert (again is not None and again.avoid == {"a"}) is elsewhere


def test_a_request_to_stop_reaches_the_driver_that_it_names_and_no_other(sweep_store: SweepStore) -> None:
    plan = sweep_store.load_plan()
    assert plan is not None
    asked: dict[str, list[str]] = {"named": [], "other": []}
    monitors = {name: Monitor(sweep_store, plan, Mock()) for name in asked}
    for name, monitor in monitors.items():
        monitor.stop_with(asked[name].append)
    sweep_store.ask_to_stop(monitors["named"]._driver["id"], "cancelled by a test")
    for monitor in monitors.values():
        monitor._refresh(force=True)
        monitor._refresh(force=True)
    assert asked == {"named": ["cancelled by a test"], "other": []}
    log = sweep_store.objects.get(sweep_store.layout.log(monitors["named"]._driver["id"]))
    assert log is not None
    assert b"stopping: cancelled by a test" in log


def test_a_log_keeps_its_last_lines_and_says_how_many_are_gone(
    sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grok_sweeps.cluster.driver_log, "MOST_LINES", 3)
    log = DriverLog(sweep_store, {"id": "20260101T000000-aaaaaa"})
    log.write()
    assert sweep_store.load_log() is None
    for k in range(5):
        log.add(f"line {k}")
    log.write()
    kept = (sweep_store.load_log() or "").splitlines()
    assert kept[0] == "(2 earlier lines are not kept)"
    assert [line.split(" ", 1)[1] for line in kept[1:]] == ["line 2", "line 3", "line 4"]


@pytest.mark.parametrize("zone", ["America/St_Johns", "Asia/Tokyo"])
def test_times_in_events_and_in_the_log_say_their_zone(
    zone: str, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        before = datetime.now(UTC).replace(microsecond=0)
        monitor = Monitor(sweep_store, sweep_store.load_plan() or Mock(), Mock())
        monitor.start()
        monitor.event("something happened")
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
    full = Mock(**{"fit.side_effect": OSError(errno.ENOSPC, "No space left on device")})
    monkeypatch.setattr(PackRunner, "_tuner", lambda *_: full)
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
    monitor = Monitor(sweep_store, plan, Mock())
    monitor.start()
    events = monitor.finish("finished").events
    assert any("stopped without giving a reason; last heartbeat at 2026-01-01T00:00:00" in event for event in events)
