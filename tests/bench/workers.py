"""Measure in processes of their own, several at once: fresh memory, a chosen number of threads, one start for all."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any, Protocol

import torch

from grok_sweeps.cluster.settings import prepare_ray

Ready = Callable[[], None]
"""Called by a task when it has warmed up; returns when all of its kind have."""


class WorkerError(RuntimeError):
    """A measurement that did not end well, in one line."""


class Workers(Protocol):
    """Runs tasks `task(ready, *arguments)`; tests run them in their own process."""

    def run(self, task: Callable[..., Any], *arguments: Any, workers: int, threads: int, ours: bool) -> list[Any]:
        """What each of `workers` tasks returns. `ours`: in the environment that our own workers get.

        Raises:
            WorkerError: one of them failed.
        """


@dataclass
class SpawnedWorkers:
    """Tasks in new Python processes, all ended by `deadline` (of `time.monotonic`).

    With `keep` a process that did one task well does the next: on a GPU starting one takes seconds, and neither its
    threads nor its environment matter.
    """

    deadline: float
    keep: bool = False
    _kept: list[_Child] = field(default_factory=list)

    def run(self, task: Callable[..., Any], *arguments: Any, workers: int, threads: int, ours: bool) -> list[Any]:
        """See `Workers`."""
        if time.monotonic() >= self.deadline:
            raise WorkerError("left out: the bench's time is up")
        children = self._kept or _start(workers, threads, ours=ours)
        self._kept = []
        try:
            for child in children:
                child.tell((task, arguments))
            answers = [child.answer(self.deadline) for child in children]
            errors = [value for failed, value in answers if failed]
            if errors:  # where one fails, those that wait for it fail too
                raise WorkerError(next((e for e in errors if not e.startswith("BrokenBarrierError")), errors[0]))
            if self.keep:
                self._kept = children
        finally:
            if not self._kept:
                _end(children)
        return [value for _, value in answers]

    def close(self) -> None:
        """End what was kept."""
        _end(self._kept)
        self._kept = []


@dataclass(frozen=True)
class _Child:
    process: BaseProcess
    connection: Connection
    barrier: Barrier
    """Held here too: the processes find it by name while somebody holds it."""

    def tell(self, work: object) -> None:
        with contextlib.suppress(OSError):  # a dead one is noticed when it is asked
            self.connection.send(work)

    def answer(self, deadline: float) -> tuple[bool, Any]:
        """Whether it failed, and what it found or why."""
        try:
            if not self.connection.poll(max(0.0, deadline - time.monotonic())):
                return True, "cut short: the bench's time is up"
            answer: tuple[bool, Any] = self.connection.recv()
        except (EOFError, OSError):
            return True, "its process died"
        return answer


def _start(workers: int, threads: int, *, ours: bool) -> list[_Child]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers)
    children = []
    with _environment(threads, ours=ours):
        for _ in range(workers):
            mine, theirs = context.Pipe()
            process = context.Process(target=_in_worker, args=(theirs, barrier, threads), daemon=True)
            process.start()
            theirs.close()
            children.append(_Child(process, mine, barrier))
    return children


def _end(children: Sequence[_Child]) -> None:
    for child in children:
        child.connection.close()  # an idle one then ends by itself
    for child in children:
        child.process.join(timeout=2.0)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()


def _in_worker(parent: Connection, barrier: Barrier, threads: int) -> None:
    torch.set_num_threads(threads)
    while True:
        try:
            task, arguments = parent.recv()
        except EOFError:
            return
        try:
            answer = (False, task(barrier.wait, *arguments))
        except Exception as error:
            barrier.abort()
            answer = (True, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        try:
            parent.send(answer)
        except BrokenPipeError:  # the bench's time was up
            return


@contextlib.contextmanager
def _environment(threads: int, *, ours: bool) -> Iterator[None]:
    """What new processes inherit: a user's environment, or the one of our workers with its memory settings."""
    before = dict(os.environ)
    try:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if ours:
            prepare_ray()
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
