"""How steps are computed, chosen for the device: never what they compute.

- `eager`: plain torch, on any device.
- `native`: what grows with the pairs in compiled kernels (`train.native`), float32 on a CPU.
- `graph`: the eager step, its launches captured as one CUDA graph for all steps between two readings.
- `fused`: the same with Triton kernels (`train.fused`) for all but the products of whole matrices.

All agree to rounding (`tests/train/test_engines.py`). Which one trained a run is in its row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from grok_sweeps.engines import ENGINES
from grok_sweeps.provenance import cpu_name
from grok_sweeps.train import fused, native

PAIR_UNITS_A_READING = {"cpu": 1 << 20, "cuda": 1 << 28}
"""Pre-activations of all pairs that a reading in plain torch takes at once.

On a CPU one lane's at p = 59, which fill the cache; on a GPU 1 GiB, which fills the device and leaves it memory.
"""

_KERNELS: Mapping[str, Callable[[], native.Kernels | fused.FusedKernels]] = {"native": native.load, "fused": fused.load}
_WITHOUT = {"native": ("eager", "1.5 to 2 times slower"), "fused": ("graph", "1.5 times slower")}


@dataclass(frozen=True)
class Engine:
    """One way to compute steps on one device; `note` says why it is not the one that was wanted."""

    name: str
    device: torch.device
    kernels: native.Kernels | fused.FusedKernels | None = None
    note: str | None = None
    can_capture: bool = True

    @property
    def captures(self) -> bool:
        """Whether the steps between two readings are one CUDA graph."""
        return self.can_capture and self.name in ("graph", "fused") and self.device.type == "cuda"

    def without_graphs(self, note: str) -> Engine:
        """The same where capturing fails, for the reason `note`."""
        return replace(self, name="eager" if self.name == "graph" else self.name, note=note, can_capture=False)

    def kernels_for(self, dtype: torch.dtype, classes: int) -> native.Kernels | fused.FusedKernels | None:
        """The kernels, where there are any for this precision and so many classes."""
        usable = self.kernels is not None and dtype == torch.float32 and self.kernels.supports(classes)
        return self.kernels if usable else None

    @property
    def device_name(self) -> str | None:
        """Model of the GPU, or of the CPU."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else cpu_name()

    def lanes_a_reading(self, pair_units: int) -> int:
        """Lanes whose readings are taken at once; `pair_units` are the pre-activations of all pairs of one."""
        return max(1, PAIR_UNITS_A_READING[self.device.type] // pair_units)


def choose_engine(wanted: str, device: torch.device) -> Engine:
    """The engine `wanted`, or for `auto` the fastest that works here.

    Raises:
        ValueError: the device has no such engine.
        NativeBuildError, FusedUnavailableError: one is asked for by name and does not work here.
    """
    allowed = ENGINES[device.type]
    name = allowed[-1] if wanted == "auto" else wanted
    if name not in allowed:
        raise ValueError(
            f"execution.engine: '{wanted}' does not train on {device.type}; use auto, {', '.join(allowed)}."
        )
    if name not in _KERNELS:
        return Engine(name, device)
    try:
        return Engine(name, device, _KERNELS[name]())
    except (native.NativeBuildError, fused.FusedUnavailableError) as error:
        if wanted != "auto":
            raise
        other, cost = _WITHOUT[name]
        return Engine(other, device, note=f"trains {cost}, as engine '{other}': {error}")
