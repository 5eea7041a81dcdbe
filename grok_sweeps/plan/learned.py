"""The delay law as the finished runs have it: a Bayesian update of the rule of thumb in `grok_sweeps.plan.estimate`.

ln T of a run is the rule's value, plus a linear correction in the axes, plus what is the cell's own, plus the seed's:

    ln T = ln_delay(config) + x(config) · b + u(cell) + e(run)

with normal priors around nothing on b and u. So without rows it is the rule, with few it stays near it, with many it
follows them; a cell with finished seeds foresees its other seeds better than the axes do.

A censored run is one whose ln T lies beyond its horizon (Tobit): it adds the normal tail there to the likelihood, which
pulls an estimate up towards its horizon and never down. b and u are those of the highest posterior density, by Newton's
method; the likelihood is log-concave. What this does not see: among the first runs of a sweep to finish the short ones
are too many. Diverged and failed runs say nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import erfc, exp, log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grok_sweeps.config import CONFIG_COLUMNS, RunConfig
from grok_sweeps.plan.estimate import P_POWER, PER_FRACTION, PER_RHO, TAU_POWER, ln_delay

Floats = NDArray[np.float64]

SEED_SD = 0.14
"""Deviation of ln T over the seeds of a cell: pooled over the 26 cells in `tests/fidelity/measured`."""
CELL_SD = 0.16
"""Deviation of a cell's mean ln T from the rule: of the 24 MLP cells there."""
AXIS_SD = 1.0
"""Of what a factor e on an axis, or another value of it, does to ln T where the rule knows nothing of it."""

MOST_ROUNDS = 30
"""Newton steps at most; without censored runs one is exact."""
CLOSE = 1e-3
"""Change of ln T that ends them."""

_NO_EFFECT = {
    "seed",
    "seeding",
    "seeds_in_block",
    "max_steps",
    "eval_every",
    "stop",
    "w_c",
    "control_id",
    "fork_cell",
    "p",
    "train_fraction",
    "rho",
    "tau",
}
"""Columns that decide nothing, or that the rule has."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Finished runs by cell, arrays of shape (C,).

    How many grokked and their mean ln T, how many were censored and the mean ln of their horizons, and when the cell's
    first run ended, on any clock.
    """

    n_grokked: Floats
    ln_grokked: Floats
    n_censored: Floats
    ln_horizon: Floats
    first_at: Floats

    @property
    def n_runs(self) -> Floats:
        """Runs of each cell that say something, shape (C,)."""
        return self.n_grokked + self.n_censored

    def of(self, cells: NDArray[np.intp]) -> Seen:
        """The same of some cells."""
        return Seen(*(getattr(self, field.name)[cells] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well `n_cells` finished cells were foreseen before any of their runs was seen.

    Half of them grokked, or were given up, at a step within `factor` of the one foreseen, either way.
    """

    factor: float
    n_cells: int

    def __str__(self) -> str:
        return f"×{self.factor:.3g} over {self.n_cells:,} finished cells"


class DelayLaw:
    """The law over the cells of `configs`, one config a cell."""

    def __init__(self, configs: Sequence[RunConfig]) -> None:
        self._rule = np.array([ln_delay(config) for config in configs])
        self._ln_budget = np.log([float(config.max_steps) for config in configs])
        columns = [*_of_rule(configs), *_of_other_axes(configs)]
        self._x = np.stack([values for values, _ in columns], axis=1)
        self._precision = np.diag([sd**-2.0 for _, sd in columns])

    def fit(self, seen: Seen) -> Floats:
        """Expected ln T of every cell, shape (C,)."""
        return self._fit(seen, np.flatnonzero(seen.n_runs))

    def accuracy(self, seen: Seen) -> Accuracy | None:
        """How well cells were foreseen before any of their runs was seen; None without finished cells.

        The first cell is foreseen by the rule, then cells are taken in the order in which they began to finish, in
        batches as large as all before them, and each batch is foreseen from all before it.
        """
        cells = np.flatnonzero(seen.n_runs)
        cells = cells[np.argsort(seen.first_at[cells], kind="stable")]
        off, known = [], 0
        while known < len(cells):
            batch = cells[known : max(1, 2 * known)]
            foreseen = self._fit(seen, cells[:known])[batch]
            part = seen.of(batch)
            capped = np.minimum(foreseen, np.where(part.n_censored > 0, part.ln_horizon, self._ln_budget[batch]))
            took = (part.n_grokked * part.ln_grokked + part.n_censored * part.ln_horizon) / part.n_runs
            off.append(np.abs(capped - took))
            known += len(batch)
        return Accuracy(exp(float(np.median(np.concatenate(off)))), len(cells)) if off else None

    def _fit(self, seen: Seen, cells: NDArray[np.intp]) -> Floats:
        """Expected ln T of every cell from the runs of `cells`."""
        expected = self._rule
        if not len(cells):
            return expected
        part, x, rule = seen.of(cells), self._x[cells], self._rule[cells]
        here, b = rule, np.zeros(x.shape[1])
        for _ in range(MOST_ROUNDS):
            z = (part.ln_horizon - here) / SEED_SD
            above = _mean_beyond(z) - z
            share = part.n_censored * above * (above + z)  # of a run seen to its end in what a censored one tells
            n = np.maximum(part.n_grokked + share, 1e-12)
            mean = (part.n_grokked * part.ln_grokked + share * (here + SEED_SD / above)) / n
            own_share = CELL_SD**2 / (CELL_SD**2 + SEED_SD**2 / n)
            weighted = x.T * (own_share / CELL_SD**2)  # 1 / (CELL_SD² + SEED_SD² / n)
            b = np.linalg.solve(self._precision + weighted @ x, weighted @ (mean - rule))
            by_axes = rule + x @ b
            before, here = here, by_axes + own_share * (mean - by_axes)
            if not part.n_censored.any() or np.abs(here - before).max() < CLOSE:
                break
        expected = np.asarray(self._rule + self._x @ b)
        expected[cells] = here
        return expected


def _of_rule(configs: Sequence[RunConfig]) -> list[tuple[Floats, float]]:
    """Columns of the rule's own terms with the deviation of their coefficients: each is uncertain by its own size."""

    def column(value: Callable[[RunConfig], float]) -> Floats:
        return np.array([value(config) for config in configs])

    columns = [
        (np.ones(len(configs)), AXIS_SD),
        (column(lambda c: log(c.p / 59)), P_POWER),
        (column(lambda c: c.train_fraction - 0.4), abs(PER_FRACTION)),
    ]
    for loss in sorted({config.loss for config in configs}):
        here = column(lambda c, loss=loss: float(c.loss == loss))  # type: ignore[misc]
        columns.append((here * column(lambda c: (c.rho or 1.0) - 1.0), PER_RHO[loss]))
        columns.append((here * column(lambda c: log(c.tau)), TAU_POWER[loss]))
    return columns


def _of_other_axes(configs: Sequence[RunConfig]) -> list[tuple[Floats, float]]:
    """Columns of what else differs: the ln of a positive number, a number as it is, or one column a value."""
    columns = []
    for name in CONFIG_COLUMNS:
        values = [getattr(config, name) for config in configs]
        if name in _NO_EFFECT or len(levels := set(values)) < 2:
            continue
        numbers = [float(v) for v in levels if _is_number(v)]
        as_ln = bool(numbers) and min(numbers) > 0
        if len(numbers) > 1:
            of = {v: (log(v) if as_ln else float(v)) for v in levels if _is_number(v)}
            middle = sum(of.values()) / len(of)
            columns.append((np.array([of.get(v, middle) - middle for v in values]), AXIS_SD))
        kinds = {v if not _is_number(v) else 0 for v in levels}
        if len(kinds) > 1:
            columns += [
                (np.array([float((0 if _is_number(v) else v) == kind) for v in values]), AXIS_SD)
                for kind in sorted(kinds, key=str)
            ]
    return columns


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_GRID = np.linspace(-9.0, 30.0, 3901)
_DENSITY = np.exp(-(_GRID**2) / 2) / sqrt(2 * pi)
_MEANS = np.array([d / (erfc(z / sqrt(2)) / 2) for z, d in zip(_GRID.tolist(), _DENSITY.tolist(), strict=True)])


def _mean_beyond(z: Floats) -> Floats:
    """Mean of a standard normal above z: the density over the tail (inverse Mills ratio), about z + 1/z far out."""
    far = np.maximum(z, 1.0)
    return np.where(z > _GRID[-1], far + 1 / far, np.interp(z, _GRID, _MEANS))
