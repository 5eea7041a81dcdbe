"""How much a bench measures: enough for a table to quote, enough to see that nothing broke, or next to nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Effort:
    """Bounds of a bench.

    Args:
        limit_s: after this long what is left is left out.
        windows, window_s: measurements of each figure, and how long each takes at least.
        moduli, seeds: the cases.
        widths: lanes a worker, by device.
        product_s: how long `grok-sweeps run` trains, about; 0 leaves it out.
        variants: how many kinds of runs the readings are measured for.
        waste_steps: budget of the runs that end at different times.
    """

    limit_s: float
    windows: int
    window_s: float
    moduli: tuple[int, ...]
    widths: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"cpu": (1, 2, 4, 8, 12), "cuda": (16, 32, 64, 128, 256, 512)}
    )
    seeds: int = 12
    product_s: float = 0.0
    variants: int = 7
    waste_steps: int = 2000

    @property
    def seconds(self) -> float:
        """How long one figure is measured."""
        return self.windows * self.window_s


FULL = Effort(limit_s=1800.0, windows=5, window_s=1.0, moduli=(59, 97), product_s=60.0)
FULL_CUDA = Effort(limit_s=450.0, windows=5, window_s=0.3, moduli=(59, 97))
QUICK = Effort(
    limit_s=110.0,
    windows=3,
    window_s=0.3,
    moduli=(59,),
    widths={"cpu": (1, 4), "cuda": (64, 256)},
    product_s=8.0,
    variants=2,
)


def rounds_for(seconds: float) -> Iterator[int]:
    """Count rounds for about as long, at least `LEAST_ROUNDS`."""
    began, k = time.perf_counter(), 0
    while k < LEAST_ROUNDS or time.perf_counter() - began < seconds:
        yield k
        k += 1
