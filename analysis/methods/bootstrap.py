"""Resampling of seeds, the unit that is independent: cells of one sweep share their seeds.

One list of seeds is drawn a resample and used in every cell, so that a seed that is slow everywhere is slow everywhere
in the resample too; a cell takes the drawn seeds that it has. Seeds are few, so a percentile interval is coarse and
too narrow, and what they bias (R²) their resamples bias again: each of the intervals here meets one of these.

Shapes: B resamples, S seeds, C cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from grok_sweeps.analysis.estimate import LEVEL
from grok_sweeps.analysis.table.cells import Cell, RunPoint

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_SHARE = 0.9
"""Smallest share of resamples that must give a value for an interval to be stated."""

_CHUNK = 4_000_000

_EXACT = 1e-12
"""Least share of a variance that counts as one: of what is left unexplained, or of what falls to a regressor."""

_TIED = 1e-12
"""Two values of one statistic that differ by less, relatively, differ by rounding: sums of one set in another order."""


@dataclass(frozen=True, eq=False)
class SeedTable:
    """Steps and logit scales by seed and cell, [S, C]: NaN where absent, steps +infinity where not reached.

    `logit_scale` is L at the run's own grokking step, `logged_scale` L at the step that is logged nearest to the cell's
    median. `problem` says why seeds cannot be resampled, or is empty.
    """

    grokked_step: Floats
    memorized_step: Floats
    logit_scale: Floats
    logged_scale: Floats
    problem: str

    def __len__(self) -> int:
        return len(self.grokked_step)


def seed_table(cells: Sequence[Cell]) -> SeedTable:
    """Align cells by seed; a run without seed, or that repeats one of its cell, has a row of its own."""
    steps = aligned(cells, lambda r: r.grokked_step)
    nameless = sum(r.seed is None for c in cells for r in c.runs)
    few = "one seed cannot be resampled" if len(steps) < 2 else ""
    problem = f"{nameless} runs have no seed" if nameless else few
    repeated = sum(len(c.runs) - len({r.seed for r in c.runs}) for c in cells)
    if repeated and not problem:
        problem = f"{repeated} runs repeat the seed of another run of their cell, so seeds are not the unit to resample"
    return SeedTable(
        steps,
        aligned(cells, lambda r: r.memorized_step),
        aligned(cells, lambda r: r.logit_scale),
        aligned(cells, lambda r: r.logged_scale),
        problem,
    )


def aligned(cells: Sequence[Cell], of: Callable[[RunPoint], float | None]) -> Floats:
    """A quantity of every run by seed and cell, [S, C], NaN where it has none: the rows are those of `seed_table`."""
    seeds = sorted({r.seed for c in cells for r in c.runs if r.seed is not None})
    place: dict[object, int] = {seed: i for i, seed in enumerate(seeds)}
    found: list[tuple[int, int, float | None]] = []
    for column, cell in enumerate(cells):
        taken: set[int] = set()
        for nth, run in enumerate(cell.runs):
            own = (column, nth) if run.seed is None or run.seed in taken else run.seed
            found.append((place.setdefault(own, len(place)), column, of(run)))
            if run.seed is not None:
                taken.add(run.seed)
    values = np.full((len(place), len(cells)), np.nan)
    for row, column, value in found:
        values[row, column] = np.nan if value is None else value
    return values


def draw(n_seeds: int, resamples: int, seed: int) -> Ints:
    """Resampled lists of seeds, [B, S]."""
    return np.random.default_rng(seed).integers(0, n_seeds, (resamples, n_seeds))


def resampled_medians(values: Floats, lists: Ints) -> Floats:
    """Median over the drawn seeds of [S, C] for each list: [B, C], +infinity where undefined, NaN without seeds."""
    size = max(1, _CHUNK // max(1, values.size))
    parts = [_medians(values[lists[i : i + size]]) for i in range(0, len(lists), size)]
    return np.concatenate(parts) if parts else np.empty((0, values.shape[1]))


def resampled_means(values: Floats, lists: Ints) -> Floats:
    """Mean over the drawn seeds of [S, C] that have a value, for each list: [B, C], NaN without one."""
    present = ~np.isnan(values)
    drawn = counts(lists, len(values))
    count = drawn @ present
    total = drawn @ np.where(present, values, 0.0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def counts(lists: Ints, n_seeds: int) -> Floats:
    """How often each seed is in each list, [B, S]."""
    places = lists + n_seeds * np.arange(len(lists))[:, None]
    return np.bincount(places.ravel(), minlength=len(lists) * n_seeds).reshape(len(lists), n_seeds).astype(np.float64)


def percentile_interval(values: Floats, level: float = LEVEL) -> tuple[tuple[float, float] | None, str]:
    """Equal-tailed percentile interval of the finite values [B], or None and the reason."""
    finite = values[np.isfinite(values)]
    if len(values) == 0:
        return None, "no resamples were asked for"
    if len(finite) < MIN_SHARE * len(values):
        lost = len(values) - len(finite)
        return None, f"{lost} of {len(values)} resamples gave no value (a cell without a median or a degenerate fit)"
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high)), ""


def basic_interval(values: Floats, value: float, level: float = LEVEL) -> tuple[tuple[float, float] | None, str]:
    """Percentiles of the finite values [B] reflected about `value` (Davison and Hinkley 1997, 5.2), or None and why.

    What few seeds bias, resamples of them bias once more by as much; reflection takes that off. It holds the value.
    """
    plain, why = percentile_interval(values, level)
    if plain is None:
        return None, why
    return (min(2 * value - plain[1], value), max(2 * value - plain[0], value)), ""


def positive_interval(values: Floats, value: float, level: float = LEVEL) -> tuple[tuple[float, float] | None, str]:
    """The basic interval of the logarithm as one of a quantity above 0, or None and why."""
    if not value > 0:
        return None, "the value is 0, about which nothing can be reflected on the logarithmic scale"
    with np.errstate(divide="ignore", invalid="ignore"):
        return _reflected(values, value, level, np.log, np.exp)


def r2_interval(values: Floats, value: float, level: float = LEVEL) -> tuple[tuple[float, float] | None, str]:
    """The basic interval of ln(1 − R²) as one of R² or of a partial R², at least 0, or None and why.

    1 − R² is a ratio of variances, which is nearer to normal and to one spread on that scale.
    """
    ends, why = _reflected(
        values, value, level, lambda r2: np.log(np.maximum(1 - r2, _EXACT)), lambda unexplained: 1 - np.exp(unexplained)
    )
    return (None, why) if ends is None else ((max(0.0, ends[0]), ends[1]), "")


def share_interval(values: Floats, value: float, level: float = LEVEL) -> tuple[tuple[float, float] | None, str]:
    """The basic interval of asin √share, on which shares near 0 and near 1 spread alike, as one of a share; or None.

    About 0 or 1 reflection leaves one point, whatever the resamples are.
    """
    if not _EXACT < value < 1 - _EXACT:
        return None, "the value is 0 or 1, an end of what a share can be, about which nothing can be reflected"
    return _reflected(
        values,
        value,
        level,
        lambda share: np.arcsin(np.sqrt(np.clip(share, 0.0, 1.0))),
        lambda angle: np.sin(np.clip(angle, 0.0, np.pi / 2)) ** 2,
    )


def correlation_interval(values: Floats, value: float, level: float = LEVEL) -> tuple[tuple[float, float] | None, str]:
    """The basic interval as one of a correlation, within -1 and 1, or None and why."""
    ends, why = basic_interval(values, value, level)
    return (None, why) if ends is None else ((max(-1.0, ends[0]), min(1.0, ends[1])), "")


def _reflected(
    values: Floats, value: float, level: float, to: Callable[[Floats], Floats], back: Callable[[Floats], Floats]
) -> tuple[tuple[float, float] | None, str]:
    """The basic interval on another scale, brought back from it."""
    ends, why = basic_interval(to(values), float(to(np.asarray(value))), level)
    if ends is None:
        return None, why
    low, high = sorted(map(float, back(np.asarray(ends))))
    # Back from the other scale the value itself is off by rounding, and an end that was put at it with it.
    return (min(low, value), max(high, value)), ""


def bca_interval(
    values: Floats, value: float, jackknife: Floats, level: float = LEVEL
) -> tuple[tuple[float, float] | None, str]:
    """Bias-corrected and accelerated interval (Efron 1987) of values [B], or None and the reason.

    `value` is the estimate of the whole sample and `jackknife` [S] those that leave one seed out. Steps are multiples
    of the reading interval, so resamples often equal `value` exactly: those count half towards the bias correction.
    """
    plain, why = percentile_interval(values, level)
    if plain is None:
        return None, why
    finite = values[np.isfinite(values)]
    if not np.isfinite(jackknife).all():
        return None, "BCa: without one of the seeds there is no value, so the acceleration is unknown"
    equal = np.abs(finite - value) <= _TIED * np.abs(value)
    below = float(np.mean((finite < value) & ~equal) + np.mean(equal) / 2)
    influence = jackknife.mean() - jackknife
    spread = float((influence**2).sum())
    if not 0 < below < 1 or spread == 0:
        return None, "BCa: all resamples lie on one side of the value, or no seed moves it"
    acceleration = float((influence**3).sum()) / (6 * spread**1.5)
    bias = norm.ppf(below)
    at = bias + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(finite, norm.cdf(bias + at / (1 - acceleration * at)))
    return (float(low), float(high)), ""


@cache
def expanded_level(n_seeds: int, level: float = LEVEL) -> float:
    """Nominal level at which a percentile interval over few seeds covers `level` (Hesterberg 2015, section 5.4).

    A resample of S seeds spreads by √((S − 1)/S) too little and knows no t distribution; the level is raised until
    the quantiles of a normal statistic are those of the t interval with S − 1 degrees of freedom.
    """
    quantile = t.ppf((1 + level) / 2, n_seeds - 1) * np.sqrt(n_seeds / (n_seeds - 1))
    return float(2 * norm.cdf(quantile) - 1)


def _medians(drawn: Floats) -> Floats:
    """Median along axis 1 of [B, S, C]; NaN sorts last, behind +infinity."""
    ranked = np.sort(drawn, axis=1)
    count = np.sum(~np.isnan(drawn), axis=1, keepdims=True)
    low = np.take_along_axis(ranked, np.maximum(count - 1, 0) // 2, axis=1)
    high = np.take_along_axis(ranked, np.minimum(count // 2, drawn.shape[1] - 1), axis=1)
    return np.where(count > 0, (low + high) / 2, np.nan)[:, 0, :]
