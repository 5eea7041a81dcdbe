"""Whoever gets the signal, and whenever: states are written, the store says how it ended, and no process is left."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cluster_processes import WAIT_S, Sweeping, wait_until

from grok_sweeps.cluster.gcs_watch import GcsWatch
from grok_sweeps.cluster.stopping import AGAIN_S, StopOnSignal
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.compact import is_compact
from grok_sweeps.store.state_index import StateIndex
from tests.faults.steps import CountedSteps

Start = Callable[..., Sweeping]
SPEC = """\
name: signalled
runs: {p: 11, arm: clamp, w_c: 20.0, rho: 1.0, seeds: 2, max_steps: 4000000, train_fraction: 0.6, stop: budget}
execution: {checkpoint_every_s: 600, workers: 1, device: cpu}
"""
SOON_S = 60.0
"""An end sooner than Ray's own, with room for a slow machine; alone it takes two seconds."""


@pytest.fixture(autouse=True)
def _heeded_signals() -> Iterator[None]:
    """As in a terminal's foreground: under nohup, or in a script's background, some are ignored."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGHUP, signal.SIGINT)]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture
def under_way(tmp_path: Path, sweeping: Start, steps: CountedSteps) -> Iterator[Callable[..., Sweeping]]:
    """Start a sweep, and come back when it trains and nothing of it is in the store."""
    (tmp_path / "spec.yaml").write_text(SPEC)

    def start(**options: object) -> Sweeping:
        sweep = sweeping("run", "spec.yaml", "--store", "store", **options)
        wait_until(steps.total, "training", sweep)
        return sweep

    with steps.slowed(0.1):
        yield start


def stored(folder: Path) -> SweepStore:
    return SweepStore(open_objects(str(folder / "store")), "signalled")


def states(folder: Path) -> dict[str, int]:
    store = stored(folder)
    plan = store.load_plan()
    assert plan is not None
    return {run_id: state.step for run_id, state in StateIndex(store).load_newest(plan.run_ids()).items()}


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if _status(process) not in (None, psutil.STATUS_ZOMBIE)]


def gcs_servers(sweep: Sweeping) -> list[psutil.Process]:
    return [process for process in sweep.descendants() if _name(process) == "gcs_server"]


def _status(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() if process.is_running() else None
    return None


def _name(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name()
    return None


def check_ended(sweep: Sweeping, below: list[psutil.Process], folder: Path, code: int = 130) -> None:
    began = time.monotonic()
    assert sweep.process.wait(timeout=WAIT_S) == code, (folder / "run.log").read_text()
    assert time.monotonic() - began < SOON_S
    assert (stored(folder).load_status() or {})["state"] == "interrupted"
    assert "Traceback" not in (folder / "run.log").read_text()
    wait_until(lambda: not alive(below), f"the end of {below}")


def to_group_twice(sweep: Sweeping, below: list[psutil.Process]) -> None:
    """As `timeout` does: to the command, and to its group."""
    os.kill(sweep.process.pid, signal.SIGTERM)
    os.killpg(sweep.process.pid, signal.SIGTERM)


def to_every_process(sweep: Sweeping, below: list[psutil.Process]) -> None:
    """As systemd and Slurm do, wherever it is."""
    for process in [*below, psutil.Process(sweep.process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("send", [to_group_twice, to_every_process])
def test_sigterm_to_more_than_the_driver_leaves_every_lanes_state(
    send: Callable[[Sweeping, list[psutil.Process]], None], under_way: Start, tmp_path: Path
) -> None:
    sweep = under_way(leads=True)
    below = sweep.descendants()
    send(sweep, below)
    check_ended(sweep, below, tmp_path)
    assert len(states(tmp_path)) == 2
    assert min(states(tmp_path).values()) > 0
    assert (stored(tmp_path).load_status() or {})["reason"] == "it got SIGTERM"


def test_a_closed_terminal_leaves_every_lanes_state(under_way: Start, tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    sweep = under_way(terminal=terminal)
    os.close(terminal)
    below = sweep.descendants()
    os.close(master)
    check_ended(sweep, below, tmp_path)
    assert len(states(tmp_path)) == 2


def test_a_gcs_that_dies_ends_the_driver_after_the_states(under_way: Start, tmp_path: Path) -> None:
    sweep = under_way()
    below = sweep.descendants()
    (gcs,) = gcs_servers(sweep)
    gcs.kill()
    check_ended(sweep, below, tmp_path, code=3)
    assert len(states(tmp_path)) == 2
    assert "gcs_server has ended" in (stored(tmp_path).load_status() or {})["reason"]


def test_nothing_outlives_a_driver_that_is_killed(under_way: Start) -> None:
    sweep = under_way()
    below = sweep.descendants()
    sweep.process.kill()
    sweep.process.wait(timeout=WAIT_S)
    wait_until(lambda: not alive(below), f"the end of {below}")


def test_sigterm_while_ray_starts_ends_it(tmp_path: Path, sweeping: Start) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    sweep = sweeping("run", "spec.yaml", "--store", "store")
    wait_until(lambda: gcs_servers(sweep), "Ray's start", sweep)
    sweep.process.send_signal(signal.SIGTERM)
    check_ended(sweep, sweep.descendants(), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_asks_for_a_stop_and_sent_twice_at_once_is_the_same(number: signal.Signals) -> None:
    with StopOnSignal() as stopped:
        signal.raise_signal(number)
        assert stopped.is_set()
        signal.raise_signal(number)
    assert stopped.signal == number.name


def test_a_second_sigint_of_a_person_acts_as_it_would_without_us(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopOnSignal():
        signal.raise_signal(signal.SIGINT)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 2 * AGAIN_S)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_ignored_sighup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopOnSignal() as stopped:
            signal.raise_signal(signal.SIGHUP)
        assert not stopped.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigterm_in_the_middle_of_compaction_waits_for_its_end(tmp_path: Path, sweeping: Start) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("4000000", "50").replace("workers: 1", "workers: 1, pack_runs: 1"))
    program = (str(Path(__file__).with_name("stopped_in_compaction.py")),)
    sweep = sweeping("run", "spec.yaml", "--store", "store", program=program)
    assert sweep.process.wait(timeout=WAIT_S) == 0, (tmp_path / "run.log").read_text()
    store = stored(tmp_path)
    assert (store.load_status() or {})["state"] == "finished"
    assert any(is_compact(info.name) for info in store.objects.list(store.layout.rows))


def test_a_gcs_that_refuses_connections_is_given_up_once_the_patience_is_over() -> None:
    gone = threading.Event()
    watch = GcsWatch(gone.set, 0.0, lambda: "127.0.0.1:9")  # the discard port: nobody listens
    watch.begin()
    assert gone.wait(WAIT_S)
