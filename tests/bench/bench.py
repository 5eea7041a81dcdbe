"""What every table of the engine's bench is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from grok_sweeps.config import RunConfig
from tests.bench.effort import Effort
from tests.bench.machine import Machine, products
from tests.bench.ours import PackRate, pack_rate
from tests.bench.tables import Figure
from tests.bench.workers import WorkerError, Workers

T = TypeVar("T")


@dataclass(frozen=True)
class Bench:
    """A device, how much to measure on it, and its rate of plain products (`flops`, FLOP/s of all workers together).

    `store` is the URI of a store to measure beside a directory, or None; `deadline` of `time.monotonic` ends it all.
    """

    device: torch.device
    effort: Effort
    machine: Machine
    workers: Workers
    store: str | None
    deadline: float
    flops: Figure

    @property
    def n_workers(self) -> int:
        """Workers at once: one a core, or one a GPU."""
        return workers_of(self.device, self.machine)

    @property
    def left_s(self) -> float:
        """Time left."""
        return max(0.0, self.deadline - time.monotonic())

    def rates(self, config: RunConfig, lanes: int, engine: str) -> list[PackRate]:
        """Train a pack like `config` in every worker at once.

        Raises:
            WorkerError: it cannot be trained so.
        """
        effort = self.effort
        arguments = (config, lanes, engine, self.device, effort.windows, effort.window_s)
        return self.workers.run(pack_rate, *arguments, workers=self.n_workers, threads=1, ours=True)


def workers_of(device: torch.device, machine: Machine) -> int:
    """Workers at once: one a core, or one a GPU."""
    return machine.cores if device.type == "cpu" else 1


def measured_flops(device: torch.device, effort: Effort, machine: Machine, workers: Workers, size: int) -> Figure:
    """FLOP/s of float32 products of square matrices with `size` rows, one thread a worker, all workers at once."""
    arguments = (device, size, effort.windows, effort.window_s)
    n_workers = workers_of(device, machine)
    rates = workers.run(products, *arguments, workers=n_workers, threads=1, ours=True)
    return Figure.of([sum(window) for window in zip(*rates, strict=True)])


def attempt(measure: Callable[[], T]) -> T | str:
    """What `measure` finds, or why it finds nothing."""
    try:
        return measure()
    except WorkerError as error:
        return str(error)
