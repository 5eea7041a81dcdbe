"""What the driver makes of things that go wrong beside the training: an event, and the sweep goes on."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

import cluster.driver
import cluster.monitor
from cluster.local_ray import LocalRay
from cluster.monitor import Monitor
from cluster.pack_queue import PackQueue
from cluster.resources import Resources
from cluster.stalls import Stalls
from cluster.tune_callback import PackProgress
from grok_sweeps.store import SweepStore

WAIT_S = 60.0


def progress(monitor: Monitor, queue: PackQueue, **parts: Any) -> PackProgress:
    """What hears of trials, on a machine with one node."""
    session = parts.get("session") or LocalRay(Resources(1, None, "cpu", None))
    return PackProgress(monitor, queue, frozenset, parts.get("stalls") or Stalls(300.0), session)


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
    monkeypatch.setattr(cluster.driver, "compact", Mock(side_effect=pa.ArrowInvalid("cannot cast\nthat")))
    cluster.driver._compact(sweep_store, monitor)
    monitor.event.assert_called_once_with("not compacted: cannot cast that")


@pytest.mark.parametrize("broken", ["the rows", "the view"])
def test_the_monitor_goes_on_after_any_exception(
    broken: str, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = sweep_store.load_plan()
    assert plan is not None
    view, again, told = Mock(), threading.Event(), list[str]()
    monkeypatch.setattr(cluster.monitor, "REFRESH_S", 0.01)
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
