"""One number of an analysis together with everything needed to judge it.

A number that cannot be had is an `Estimate` without a value and with a reason, never NaN and never an exception, so a
report on half a sweep is still a report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LEVEL = 0.95
"""Coverage that every interval aims at."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A named number with its unit, method, sample sizes and, where it has no value or interval, the reason.

    `interval` is (lo, hi) at `level`. `left_out` names what was not used and why. `reason` says why `value` is None;
    `interval_reason` why `interval` is None although there is a value (empty where none was asked for). `resampling`
    says what was resampled, how often and from which seed ("4,000 resamples of 12 seeds, seed 0"), empty where nothing.
    """

    name: str
    value: float | None
    unit: str
    method: str
    interval: tuple[float, float] | None = None
    level: float = LEVEL
    n_runs: int = 0
    n_cells: int = 0
    left_out: tuple[str, ...] = ()
    reason: str = ""
    interval_reason: str = ""
    resampling: str = ""

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"estimate {self.name!r} is {self.value}: use value=None with a reason")
        if (self.value is None) != bool(self.reason):
            raise ValueError(f"estimate {self.name!r} needs a reason exactly where it has no value")


@dataclass(frozen=True, eq=False)
class Basis:
    """What all estimates of one sample rest on, and what it did not use."""

    n_runs: int
    n_cells: int
    left_out: tuple[str, ...]

    def stated(
        self,
        name: str,
        unit: str,
        method: str,
        value: float,
        interval: tuple[float, float] | None = None,
        why: str = "",
        resampling: str = "",
    ) -> Estimate:
        """A number of this sample; `why` it has no interval."""
        n_runs, n_cells, left_out = self.n_runs, self.n_cells, self.left_out
        return Estimate(
            name,
            value,
            unit,
            method,
            interval,
            n_runs=n_runs,
            n_cells=n_cells,
            left_out=left_out,
            interval_reason=why,
            resampling=resampling,
        )

    def absent(self, name: str, unit: str, method: str, reason: str) -> Estimate:
        """A number that this sample does not give, and why."""
        n_runs, n_cells, left_out = self.n_runs, self.n_cells, self.left_out
        return absent(name, unit, method, reason, n_runs=n_runs, n_cells=n_cells, left_out=left_out)


def named(estimates: Iterable[Estimate], name: str) -> Estimate:
    """The estimate of that name."""
    return next(e for e in estimates if e.name == name)


class Named:
    """What has `estimates`, each found by its name: `law["r_squared"]`."""

    __slots__ = ()
    estimates: tuple[Estimate, ...]

    def __getitem__(self, name: str) -> Estimate:
        return named(self.estimates, name)


def absent(
    name: str,
    unit: str,
    method: str,
    reason: str,
    *,
    n_runs: int = 0,
    n_cells: int = 0,
    left_out: tuple[str, ...] = (),
) -> Estimate:
    """An estimate without a value, and why."""
    return Estimate(
        name,
        None,
        unit,
        method,
        n_runs=n_runs,
        n_cells=n_cells,
        left_out=left_out,
        reason=reason,
        interval_reason=reason,
    )
