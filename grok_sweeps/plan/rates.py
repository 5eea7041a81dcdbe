"""How fast a device trains: measured where there are rows of it, and otherwise not known.

A row's `wall_s` is its share of the time that its lanes trained together, so run-steps over `wall_s`, summed over rows,
is what one worker does a second. For runs of the same work a step that is the rate; for others it is scaled by the work
(`estimate.step_flops`), which is rougher: small networks do fewer FLOP a second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from grok_sweeps.config import RunConfig
from grok_sweeps.errors import SpecError
from grok_sweeps.plan.estimate import CORE_GFLOPS, step_flops

CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Pool:
    """Devices of one kind: GPUs of a type such as H100, or CPU cores (`cpu`)."""

    devices: int
    kind: str

    @property
    def is_cpu(self) -> bool:
        """Whether the devices are cores."""
        return self.kind == CPU

    @property
    def unit(self) -> str:
        """What is paid for."""
        return "core-hours" if self.is_cpu else "GPU-hours"

    def __str__(self) -> str:
        return f"{self.devices} {'cores' if self.is_cpu else self.kind}"


def parse_pool(text: str) -> Pool:
    """A pool as `8xH100` or `16xcpu`.

    Raises:
        SpecError: it is written otherwise.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})\s*[x×]\s*([A-Za-z][\w .-]*)", text.strip())
    if not found:
        raise SpecError(
            f"--cluster: '{text}' is not a number of devices and their kind; write 8xH100 for GPUs or 16xcpu for cores."
        )
    kind = found[2].strip()
    return Pool(int(found[1]), CPU if kind.lower() in (CPU, "cpus", "core", "cores") else kind)


@dataclass(frozen=True, slots=True)
class Measured:
    """Rows of one shape of run, trained on one model of device: `device` is cpu or cuda:K as in the rows.

    `share` is the share of a GPU, or the cores, that a worker held; None where the rows do not say.
    """

    config: RunConfig
    device: str
    device_name: str | None
    share: float | None
    run_steps: int
    wall_s: float
    n_rows: int

    def is_of(self, pool: Pool, share: float) -> bool:
        """Whether they were trained on such a device, by workers that held so much of it."""
        if self.share != share or pool.is_cpu != self.device.startswith(CPU):
            return False
        return pool.is_cpu or words(pool.kind) <= words(self.device_name or "")


def words(name: str) -> set[str]:
    """`NVIDIA A100-SXM4-80GB` and `a100` have one in common; L4 and L40S none."""
    return set(re.findall(r"[a-z0-9]+", name.lower()))


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that one worker takes for a run-step; `source` says from what they are known, in words."""

    source: str
    by_work: tuple[tuple[tuple[str, float], float], ...] = ()
    flops: float | None = None
    steps: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is any rate."""
        return bool(self.flops or self.steps)

    def seconds(self, config: RunConfig) -> float:
        """Seconds of a worker for one step of such a run; where any rate is known."""
        if self.steps:
            return 1 / self.steps
        measured = dict(self.by_work).get(_work(config))
        return measured if measured is not None else step_flops(config) / (self.flops or float("nan"))


def rates_of(pool: Pool, share: float, measured: Sequence[Measured], step_rate: float | None = None) -> Rates:
    """The rates of a worker that holds `share` of a device of this pool.

    Args:
        pool: the devices.
        share: GPUs, or cores, of a worker.
        measured: what the store's rows say.
        step_rate: run-steps a second of one device, if the user knows better.
    """
    if step_rate is not None:
        return Rates(
            f"at {step_rate:,g} run-steps/s a {'core' if pool.is_cpu else 'GPU'}, as given", steps=step_rate * share
        )
    mine = [m for m in measured if m.wall_s > 0 and m.run_steps > 0 and m.is_of(pool, share)]
    sums: dict[tuple[str, float], tuple[int, float]] = {}
    for m in mine:
        steps, wall_s = sums.get(_work(m.config), (0, 0.0))
        sums[_work(m.config)] = steps + m.run_steps, wall_s + m.wall_s
    by_work = tuple((work, wall_s / steps) for work, (steps, wall_s) in sums.items())
    if pool.is_cpu:
        source = f"at {CORE_GFLOPS:g} GFLOP/s a worker, measured at p = 59 on a Xeon with AVX-512"
        if mine:
            source = f"at the rates of {_rows(mine)}, other shapes {source}"
        return Rates(source, by_work, CORE_GFLOPS * 1e9)
    if not mine:
        held = "" if share == 1 else f" by workers that hold {share:g} of one"
        return Rates(f"no rate measured on {pool.kind}{held} yet")
    names = sorted({m.device_name or "" for m in mine})
    total = sum(m.run_steps * step_flops(m.config) for m in mine)
    source = f"at the rates of {_rows(mine)} of the store on {', '.join(names)}; other shapes in proportion to FLOP"
    return Rates(source, by_work, total / sum(m.wall_s for m in mine))


def _rows(measured: Sequence[Measured]) -> str:
    return f"{sum(m.n_rows for m in measured):,} rows"


def _work(config: RunConfig) -> tuple[str, float]:
    return config.arch, step_flops(config)
