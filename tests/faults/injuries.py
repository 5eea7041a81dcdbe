"""How each kind of fault is inflicted on a sweep under way, and undone when it has lasted long enough.

Each returns whether there was something to inflict it on. A fault that lasts ends early where the command has ended:
nothing is left to suffer it.
"""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from grok_sweeps.store import SweepStore
from grok_sweeps.store.lease import read_lease
from grok_sweeps.store.rows import RowLog
from tests.cluster.cluster_processes import Sweeping
from tests.faults.places import Place
from tests.faults.processes import Family, send
from tests.faults.proxy import Policy, refusing, slow, unharmed
from tests.faults.schedule import Fault

FIND_WORKER_S = 60.0
ENDS_S = 180.0
"""Longest wait for one of two drivers to end, or to take over."""
STOPPED_ALONE_SHARE = 0.5
TAKEN_OVER = "the lease was taken over by a driver"
LOCKED = "another process has held"
"""Said where the driver was stopped in the very moment in which it renewed its lease on a directory."""


@dataclass(frozen=True)
class Scene:
    """A command under way, everything that was started for it, and its store.

    Attributes:
        attempt: the command.
        family: all processes.
        place: where the sweep is kept.
        sweep: the sweep.
        beside: starts `run` or `resume` of the same sweep, with options, in a folder of its own.
        follow: has the campaign go on with such a second command.
        too_many: is told of a driver that did not give way.
    """

    attempt: Sweeping
    family: Family
    place: Place
    sweep: SweepStore
    beside: Callable[..., Sweeping]
    follow: Callable[[Sweeping], None]
    too_many: Callable[[str], None]

    @property
    def ended(self) -> bool:
        """Whether the command has ended."""
        return self.attempt.process.poll() is not None

    def lasts(self, seconds: float) -> None:
        """Let time pass, until the command has ended at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.attempt.process.wait(seconds)

    def worker(self, choice: float) -> psutil.Process | None:
        """One of the processes that train; `choice` in [0, 1) says which. It is waited for, but not for ever."""
        self.family.until(lambda: self.ended or self.attempt.workers(), FIND_WORKER_S)
        workers = sorted(self.attempt.workers(), key=lambda process: process.pid)
        return workers[int(choice * len(workers))] if workers else None

    @property
    def driver(self) -> psutil.Process:
        """The command's own process."""
        return psutil.Process(self.attempt.process.pid)


def kill_worker(scene: Scene, fault: Fault) -> bool:
    worker = scene.worker(fault.victim)
    if worker is None:
        return False
    send(worker, 9)
    return True


def stop_worker(scene: Scene, fault: Fault) -> bool:
    worker = scene.worker(fault.victim)
    return worker is not None and _stop(scene, fault, [worker])


def kill_driver(scene: Scene, fault: Fault) -> bool:
    scene.attempt.process.kill()
    scene.attempt.process.wait()
    return True


def stop_driver(scene: Scene, fault: Fault) -> bool:
    return _stop(scene, fault, [scene.driver])


def kill_everything(scene: Scene, fault: Fault) -> bool:
    everyone = scene.family.alive()
    random.Random(fault.seed).shuffle(everyone)
    for process in everyone:
        send(process, 9)
    scene.attempt.process.wait()
    return True


def stop_everything(scene: Scene, fault: Fault) -> bool:
    return _stop(scene, fault, scene.family.alive())


def fill_disk(scene: Scene, fault: Fault) -> bool:
    disk = scene.place.disk
    assert disk is not None
    disk.fill()
    try:
        scene.lasts(fault.lasts_s)
    finally:
        disk.free()
    return True


def clock_jump(scene: Scene, fault: Fault) -> bool:
    clock = scene.place.clock
    assert clock is not None
    clock.jump(fault.clock_s)
    try:
        scene.lasts(fault.lasts_s)
    finally:
        clock.jump(0.0)
    return True


def kill_server(scene: Scene, fault: Fault) -> bool:
    server = scene.place.server
    assert server is not None
    server.kill()
    try:
        scene.lasts(fault.lasts_s)
    finally:
        server.start()
    return True


def stop_server(scene: Scene, fault: Fault) -> bool:
    server = scene.place.server
    assert server is not None
    server.pause()
    try:
        scene.lasts(fault.lasts_s)
    finally:
        server.go_on()
    return True


def answer_503(scene: Scene, fault: Fault) -> bool:
    return _treat(scene, fault, refusing(fault.seed))


def answer_slowly(scene: Scene, fault: Fault) -> bool:
    return _treat(scene, fault, slow(fault.seed))


def second_driver(scene: Scene, fault: Fault) -> bool:
    """A second command must say who drives and end, or wait; where the first was not there yet, that gives way."""
    draw = random.Random(fault.seed)
    options = draw.choice([(), ("--wait-for-driver", f"{fault.lasts_s:.0f}")])
    first, second = scene.attempt, scene.beside(draw.choice(["run", "resume"]), *options)
    if not scene.family.until(lambda: scene.ended or second.process.poll() is not None, ENDS_S):
        scene.too_many("a second driver neither ended nor drove alone")
        second.kill_everything()
        return True
    if second.process.poll() is None:  # the first has ended: as it was done, or as it found the second one at work
        if first.process.returncode != 0 and not _names(first, second):
            scene.too_many(f"the first driver ended with {first.process.returncode} beside a second one")
        scene.follow(second)
    elif not (_names(second, first) or (second.process.returncode == 0 and _ended_well(scene, first))):
        scene.too_many(f"a second driver ended with {second.process.returncode} and did not name the first")
    return True


def replaced_driver(scene: Scene, fault: Fault) -> bool:
    """A stopped driver's sweep is taken over; awake again, it must end, and its workers must write nothing more."""
    family, old = scene.family, scene.attempt
    family.until(lambda: scene.ended or _drives(scene, old), ENDS_S)
    if scene.ended:
        return False
    stopped = [scene.driver] if fault.victim < STOPPED_ALONE_SHARE else family.alive()
    with family.stopped(stopped):
        if not _drives(scene, old):
            return False
        new = scene.beside("resume")
        family.until(lambda: new.process.poll() is not None or _drives(scene, new), ENDS_S)
        if not _drives(scene, new):
            if new.process.poll() is None or LOCKED not in _said(new):
                scene.too_many("a stopped driver was not replaced")
            return True
        before = _written(scene)
        scene.lasts(fault.lasts_s)
    complete = scene.sweep.load_plan() is not None and not _missing(scene)
    late: set[tuple[str, str]] = set()

    def old_ended() -> bool:
        late.update((attempt, n) for attempt, n in _written(scene) - before if attempt in {a for a, _ in before})
        return scene.ended

    if not family.until(old_ended, ENDS_S):
        scene.too_many("a driver that was replaced did not end")
        old.kill_everything()
    elif TAKEN_OVER not in _said(old) and not complete:
        scene.too_many(f"a driver that was replaced ended with {old.process.returncode} and did not say so")
    old_ended()
    attempts = [attempt for attempt, _ in late]
    if len(attempts) > len(set(attempts)):
        scene.too_many("a replaced driver's worker wrote more than what was under way")
    scene.follow(new)
    return True


def _drives(scene: Scene, command: Sweeping) -> bool:
    """Whether a command holds the lease."""
    lease = read_lease(scene.sweep)
    return lease is not None and not lease.released and lease.process["pid"] == command.process.pid


def _names(command: Sweeping, other: Sweeping) -> bool:
    """Whether a command has ended and named another as the one that drives."""
    return command.process.poll() == 1 and f"driven by a driver, pid {other.process.pid}, on" in _said(command)


def _ended_well(scene: Scene, first: Sweeping) -> bool:
    """Whether the first, which a second one has followed, was done: its process may be there a little longer."""
    scene.family.until(lambda: scene.ended, ENDS_S)
    return first.process.poll() == 0


def _said(command: Sweeping) -> str:
    return (command.folder / "run.log").read_text()


def _written(scene: Scene) -> set[tuple[str, str]]:
    """What workers have written that is still there: the attempt, and the number of the write."""
    layout = scene.sweep.layout
    names = [info.name for kind in (layout.rows, layout.checkpoints) for info in scene.sweep.objects.list(kind)]
    return {found.groups() for name in names if (found := re.search(r"([0-9a-f]{8})-(\d+)\.\w+$", name))}


def _missing(scene: Scene) -> set[str]:
    """Runs without a row."""
    plan, log = scene.sweep.load_plan(), RowLog(scene.sweep)
    log.refresh()
    return set(plan.run_ids() if plan else ()) - set(log.rows)


def _treat(scene: Scene, fault: Fault, policy: Policy) -> bool:
    proxy = scene.place.proxy
    assert proxy is not None
    proxy.treat = policy
    try:
        scene.lasts(fault.lasts_s)
    finally:
        proxy.treat = unharmed
    return True


def _stop(scene: Scene, fault: Fault, processes: list[psutil.Process]) -> bool:
    with scene.family.stopped(processes):
        scene.lasts(fault.lasts_s)
    return True


INJURIES: dict[str, Callable[[Scene, Fault], bool]] = {
    "kill-worker": kill_worker,
    "stop-worker": stop_worker,
    "kill-driver": kill_driver,
    "stop-driver": stop_driver,
    "kill-everything": kill_everything,
    "stop-everything": stop_everything,
    "full-disk": fill_disk,
    "kill-server": kill_server,
    "stop-server": stop_server,
    "answer-503": answer_503,
    "answer-slowly": answer_slowly,
    "clock-jump": clock_jump,
    "second-driver": second_driver,
    "replaced-driver": replaced_driver,
}
