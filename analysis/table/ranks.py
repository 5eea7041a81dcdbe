"""Order statistics of a few seeds: quantiles, and the interval of a median that assumes nothing of the distribution.

A run that did not reach a step within its budget stands at +infinity, behind all others; a quantile or an end of an
interval that needs its rank has no value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from scipy.stats import binom

from grok_sweeps.analysis.estimate import LEVEL

MEDIAN_INTERVAL = (
    "Interval: exact, from the binomial distribution of how many seeds lie below the median (order statistics), so its "
    "coverage is at least the level stated."
)


def order_statistic(values: Sequence[float], quantile: float) -> float | None:
    """Quantile by linear interpolation between ranks, None where a rank that it needs is +infinity or n is 0."""
    if not values:
        return None
    ranked = sorted(values)
    at = quantile * (len(ranked) - 1)
    low, high = ranked[math.floor(at)], ranked[math.ceil(at)]
    return None if math.isinf(high) else low + (high - low) * (at - math.floor(at))


def median_interval(values: Sequence[float]) -> tuple[tuple[float, float] | None, str]:
    """Interval of the median between two of the values, or None and the reason."""
    rank = _rank(len(values))
    if rank is None:
        return None, f"{len(values)} seeds are too few for an exact {LEVEL:.0%} interval of a median, 6 are needed"
    ranked = sorted(values)
    low, high = ranked[rank - 1], ranked[-rank]
    if math.isinf(high):
        return None, f"its upper end lies beyond the budget of runs that did not reach it (lower end: {low:,.0f})"
    return (low, high), ""


@cache
def _rank(n: int) -> int | None:
    """The largest k for which the interval from the k-th smallest to the k-th largest of n covers the median."""
    k = int(binom.ppf((1 - LEVEL) / 2, n, 0.5))
    while k > 0 and 2 * binom.cdf(k - 1, n, 0.5) > 1 - LEVEL:
        k -= 1
    return k or None
