"""How each kind of fault is inflicted on a sweep under way, and undone when it has lasted long enough.

Each returns whether there was something to inflict it on. A fault that lasts ends early where the command has ended:
nothing is left to suffer it.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from tests.cluster.cluster_processes import Sweeping
from tests.faults.places import Place
from tests.faults.processes import Family, send
from tests.faults.proxy import Policy, refusing, slow, unharmed
from tests.faults.schedule import Fault

FIND_WORKER_S = 60.0


@dataclass(frozen=True)
class Scene:
    """A command under way, everything that was started for it, and its store."""

    attempt: Sweeping
    family: Family
    place: Place

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
}
