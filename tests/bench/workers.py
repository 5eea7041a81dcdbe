"""Measure in processes of their own, several at once: fresh memory, a chosen number of threads, one start for all."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, Protocol

import torch

from cluster.settings import prepare_ray

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


@dataclass(frozen=True)
class SpawnedWorkers:
    """Each task in a new Python process, all ended by `deadline` (of `time.monotonic`)."""

    deadline: float

    def run(self, task: Callable[..., Any], *arguments: Any, workers: int, threads: int, ours: bool) -> list[Any]:
        """See `Workers`."""
        if time.monotonic() >= self.deadline:
            raise WorkerError("left out: the bench's time is up")
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(workers)
        started = []
        with _environment(threads, ours=ours):
            for _ in range(workers):
                mine, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_in_worker, args=(theirs, barrier, threads, task, arguments), daemon=True
                )
                process.start()
                theirs.close()
                started.append((process, mine))
        try:
            answers = [self._answer(connection) for _, connection in started]
        finally:
            for process, _ in started:
                process.join(timeout=5.0)
                if process.is_alive():
                    process.kill()
                    process.join()
        for failed, value in answers:
            if failed:
                raise WorkerError(value)
        return [value for _, value in answers]

    def _answer(self, connection: Connection) -> tuple[bool, Any]:
        if not connection.poll(max(0.0, self.deadline - time.monotonic())):
            return True, "cut short: the bench's time is up"
        try:
            answer: tuple[bool, Any] = connection.recv()
        except EOFError:
            return True, "its process died"
        return answer


def _in_worker(
    answer: Connection, barrier: Barrier, threads: int, task: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(threads)
    try:
        answer.send((False, task(barrier.wait, *arguments)))
    except Exception as error:
        barrier.abort()
        text = " ".join(str(error).split())
        answer.send((True, f"{type(error).__name__}: {text[:200]}"))


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
