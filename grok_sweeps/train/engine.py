"""How steps are computed, chosen for the device: never what they compute.

- `eager`: plain torch, on any device.
- `native`: what is not a matrix product in compiled kernels (`train.native`), float32 on a CPU.
- `graph`: the eager step, its launches captured as one CUDA graph for all steps between two readings.
- `fused`: the same with Triton kernels that keep the hidden activations of a tile on chip.

All agree to rounding (`tests/train/test_engines.py`). Which one trained a run is in its row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from grok_sweeps.engines import ENGINES
from grok_sweeps.train.native import Kernels, NativeBuildError, load

LANES_A_READING = {"cpu": 1, "cuda": 32}
"""On a CPU the activations of all pairs of one lane fill the cache; on a GPU 32 lanes fill the device at p = 59."""


@dataclass(frozen=True)
class Engine:
    """One way to compute steps on one device; `note` says why it is not the one that was wanted."""

    name: str
    device: torch.device
    kernels: Kernels | None = None
    note: str | None = None

    @property
    def captures(self) -> bool:
        """Whether the steps between two readings are one CUDA graph."""
        return self.name in ("graph", "fused")

    @property
    def lanes_a_reading(self) -> int:
        """Lanes whose readings are taken at once."""
        return LANES_A_READING[self.device.type]


def choose_engine(wanted: str, device: torch.device) -> Engine:
    """The engine `wanted`, or for `auto` the fastest that works here.

    Raises:
        ValueError: the device has no such engine.
        NativeBuildError: `native` is asked for by name and cannot be compiled.
    """
    allowed = ENGINES[device.type]
    name = allowed[-1] if wanted == "auto" else wanted
    if name not in allowed:
        raise ValueError(
            f"execution.engine: '{wanted}' does not train on {device.type}; use auto, {', '.join(allowed)}."
        )
    if name != "native":
        return Engine(name, device)
    try:
        return Engine(name, device, load())
    except NativeBuildError as error:
        if wanted != "auto":
            raise
        return Engine("eager", device, note=f"trains about 1.5 times slower without compiled kernels: {error}")
