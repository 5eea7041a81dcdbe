"""The machine a bench runs on, and its rate of plain matrix products, which bounds every way of training."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from grok_sweeps.cluster.settings import this_machine

SIZE = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices."""


@dataclass(frozen=True)
class Machine:
    """What the figures depend on."""

    cpu: str
    cores: int
    gpu: str | None
    torch: str
    python: str

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        cores = this_machine(look_for_gpus=False).cpus
        return cls(_cpu_model(), cores, gpu, torch.__version__, platform.python_version())

    def to_dict(self) -> dict[str, Any]:
        """Values by name."""
        return asdict(self)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def products(ready: Callable[[], None], device: torch.device, size: int, windows: int, window_s: float) -> list[float]:
    """Multiply float32 matrices; FLOP/s of each window. TF32 stays off, as in training."""
    a, b = torch.randn(2, size, size, device=device).unbind()
    out = torch.empty_like(a)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(3):
        torch.mm(a, b, out=out)
    synchronize()
    ready()
    rates = []
    for _ in range(windows):
        n, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < window_s:
            torch.mm(a, b, out=out)
            synchronize()
            n += 1
        rates.append(2.0 * size**3 * n / elapsed)
    return rates
