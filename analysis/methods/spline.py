"""Is ln T linear in L? A restricted cubic spline against the line, by F test and AIC.

The spline (linear beyond its outer knots) holds the line as a special case, so the two are nested. Knots stand at fixed
quantiles of L (Harrell, Regression Modeling Strategies, 2.4.6): 3 for few points, 4 from 30 on. Under convention `runs`
both models have an intercept for each seed, so that runs of one seed do not count as independent of their seed.
"""

from __future__ import annotations

import numpy as np
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.anova import anova_lm

from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints
from grok_sweeps.analysis.methods.convention import PAPER
from grok_sweeps.analysis.methods.points import Points

MANY = 30
KNOTS = {False: (0.10, 0.50, 0.90), True: (0.05, 0.35, 0.65, 0.95)}
"""Quantiles of L at which the knots stand, by whether there are MANY points."""

_METHOD = (
    "Restricted cubic spline of ln T in L (knots at the {knots} quantiles of L) against the straight line, ordinary "
    "least squares{seeds}; {what}"
)
_WHAT = (
    ("spline_f", "1", "F of the spline's additional terms."),
    ("spline_p", "1", "p value of that F test; small means that ln T is not linear in L."),
    ("spline_delta_aic", "1", "AIC of the line minus AIC of the spline; positive favours the spline."),
)


def spline_check(points: Points, *, n_runs: int, left_out: tuple[str, ...] = ()) -> tuple[Estimate, ...]:
    """F, its p value and the difference of AIC under the convention of the points."""
    paper = points.convention == PAPER
    y, scale, _ = points.sample()
    seed = np.zeros(len(y), dtype=np.int64) if paper else points.rows[3]
    n_cells = len(y) if paper else len(set(points.rows[4]))
    quantiles = KNOTS[len(y) >= MANY]
    values, reason = _compare(y, scale, seed, quantiles)
    suffix = "" if paper else "_runs"
    knots = ", ".join(f"{q:g}" for q in quantiles)

    def estimate(place: int) -> Estimate:
        name, unit, what = _WHAT[place]
        method = _METHOD.format(knots=knots, seeds="" if paper else ", an intercept for each seed", what=what)
        if reason:
            return absent(name + suffix, unit, method, reason, n_runs=n_runs, n_cells=n_cells, left_out=left_out)
        return Estimate(
            name + suffix,
            values[place],
            unit,
            method,
            n_runs=n_runs,
            n_cells=n_cells,
            left_out=left_out,
            interval_reason="a test statistic has no interval",
        )

    return tuple(map(estimate, range(len(_WHAT))))


def restricted_cubic(x: Floats, knots: Floats) -> Floats:
    """The K - 2 nonlinear terms of a restricted cubic spline with K knots, [..., K - 2] (Harrell 2.4.5)."""
    first, before, last = knots[0], knots[-2], knots[-1]

    def cube(at: float) -> Floats:
        return np.maximum(x - at, 0.0) ** 3

    return np.stack(
        [
            (cube(k) - cube(before) * (last - k) / (last - before) + cube(last) * (before - k) / (last - before))
            / (last - first) ** 2
            for k in knots[:-2]
        ],
        axis=-1,
    )


def _compare(y: Floats, scale: Floats, seed: Ints, quantiles: tuple[float, ...]) -> tuple[tuple[float, ...], str]:
    intercepts = (seed[:, None] == np.unique(seed)).astype(np.float64) if len(y) else np.ones((0, 1))
    n_more = len(quantiles) - 2
    needed = intercepts.shape[1] + 1 + n_more + 2
    if len(y) < needed:
        return (), f"points: {len(y)}, at least {needed} are needed"
    if not (np.isfinite(y).all() and np.isfinite(scale).all()):
        return (), "a point has no T or no L"
    if np.ptp(y) == 0:
        return (), "all points have the same T"
    # The spline does not depend on the unit of L, and cubes of L near the largest number have no value.
    scale = scale / max(float(np.abs(scale).max()), np.finfo(np.float64).tiny)
    knots = np.quantile(scale, quantiles)
    if np.diff(knots).min() <= 1e-9 * max(1.0, float(np.abs(knots).max())):
        return (), "L has too few different values for the knots of a spline"
    line = np.column_stack([intercepts, scale - scale.mean()])
    curved = np.column_stack([line, restricted_cubic(scale, knots)])
    scaled = curved / np.abs(curved).max(axis=0)
    if np.linalg.matrix_rank(scaled, tol=1e-9) < curved.shape[1]:
        return (), "the spline's terms are collinear over these points"
    straight, spline = OLS(y, line).fit(), OLS(y, curved).fit()
    if spline.ssr <= 1e-18 * len(y):
        return (), "the spline fits every point exactly"
    test = anova_lm(straight, spline)
    return (float(test["F"].iloc[1]), float(test["Pr(>F)"].iloc[1]), float(straight.aic - spline.aic)), ""
