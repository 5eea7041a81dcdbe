"""How many lanes fit on a GPU: what a lane takes is measured on two of them, and the width follows.

Training needs memory for every lane, a reading for those that are read at once. What the allocator and other processes
do afterwards can still break the sum; the pack then goes on with half the lanes (`train.pack`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from grok_sweeps.config import RunConfig
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.lanes import Joining, LaneStack, LaneTensors

PROBED = 2
"""Lanes that are measured."""
USABLE_SHARE = 0.85
"""Of the free memory; the rest is for captured graphs and for what the allocator leaves between its blocks."""


class Meter(Protocol):
    """Reads a device's memory."""

    def free_bytes(self) -> int:
        """What could be allocated now."""

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """The most that was allocated during `work`, above what was before it."""


class CudaMeter:
    """The memory of one GPU, or of this process's share of it, as torch's allocator sees it."""

    def __init__(self, device: torch.device, share: float = 1.0) -> None:
        self._device, self._share = device, share

    def free_bytes(self) -> int:
        """See `Meter`; what the allocator keeps for reuse counts as free."""
        free, total = torch.cuda.mem_get_info(self._device)
        mine = torch.cuda.memory_allocated(self._device)
        return min(free + torch.cuda.memory_reserved(self._device) - mine, int(self._share * total) - mine)

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """See `Meter`."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - before


def shared_meter(device: torch.device, share: float) -> CudaMeter | None:
    """The meter of a process that has a `share` of a GPU below 1, None for any other.

    What the process takes beyond its share raises as if the GPU were full, which narrows the stack.
    """
    if device.type != "cuda" or share >= 1:
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.set_per_process_memory_fraction(share, index)
    return CudaMeter(device, share)


@dataclass(frozen=True, slots=True)
class LaneMemory:
    """Peak bytes of a lane in training, and more of each that is read, `lanes_a_reading` at once."""

    training_bytes: int
    reading_bytes: int
    lanes_a_reading: int

    @property
    def lane_bytes(self) -> int:
        """Peak of one lane."""
        return self.training_bytes + self.reading_bytes

    def lanes_in(self, usable_bytes: float) -> int:
        """The widest stack that fits, at least one lane."""
        together = int(usable_bytes // self.lane_bytes)
        if together > self.lanes_a_reading:
            together = int((usable_bytes - self.lanes_a_reading * self.reading_bytes) // self.training_bytes)
        return max(1, together)


def measure_lane(config: RunConfig, engine: Engine, meter: Meter) -> LaneMemory:
    """Train and read two lanes of a run, away from any pack.

    Raises:
        torch.OutOfMemoryError: not even these fit.
    """
    made: list[LaneStack] = []

    def train() -> None:
        joining = Joining(config, None, LaneTensors.fresh(config))
        made.append(LaneStack([joining] * PROBED, Engine(engine.name, engine.device, engine.kernels)))
        made[0].advance(2)

    training = meter.peak_bytes(train)
    reading = meter.peak_bytes(lambda: made[0].read(range(PROBED)))
    at_once = made[0].lanes_a_reading
    return LaneMemory(max(1, training // PROBED), reading // min(PROBED, at_once), at_once)


def most_lanes(memory: LaneMemory, meter: Meter) -> int:
    """The widest stack that fits now."""
    return memory.lanes_in(USABLE_SHARE * meter.free_bytes())
