"""Least squares of y on one or two regressors, twice: by statsmodels for what is reported, in closed form to resample.

The closed form (squared correlations) fits thousands of resamples in one numpy expression; a test holds it equal to
statsmodels. It is NaN, not an error, where a regressor or y is constant or the two regressors are collinear.

Shapes: [..., C] with C cells last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.regression.linear_model import OLS

Floats = NDArray[np.float64]

COLLINEAR = 1e-10
"""Two regressors with 1 - r^2 below this are one."""

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Which of y, a and b each of the six products is of."""


@dataclass(frozen=True, eq=False)
class Fits:
    """R2 and slopes of y on `a`, on `b`, and on both; every field has shape [...]."""

    r2_a: Floats
    r2_b: Floats
    r2_both: Floats
    slope_a: Floats
    slope_b: Floats
    slope_a_given_b: Floats
    slope_b_given_a: Floats

    @property
    def delta_b(self) -> Floats:
        """R2 that b adds to a."""
        return self.r2_both - self.r2_a

    @property
    def delta_a(self) -> Floats:
        """R2 that a adds to b."""
        return self.r2_both - self.r2_b

    @property
    def partial_b(self) -> Floats:
        """Share of what a leaves unexplained that b explains: (R2 both - R2 a) / (1 - R2 a)."""
        return _ratio(self.delta_b, 1 - self.r2_a)

    @property
    def partial_a(self) -> Floats:
        """Share of what b leaves unexplained that a explains: (R2 both - R2 b) / (1 - R2 b)."""
        return _ratio(self.delta_a, 1 - self.r2_b)


def closed_form(y: Floats, a: Floats, b: Floats) -> Fits:
    """All three fits of y [..., C] on a and b (broadcast against y) by their correlations."""
    y, a, b = (v - v.mean(axis=-1, keepdims=True) for v in (y, a, b))
    return fits_of(moments(y, a, b).sum(axis=-2))


def moments(y: Floats, a: Floats, b: Floats) -> Floats:
    """Count, sums and products of each point, [..., 10]: 1, y, a, b, yy, aa, bb, ya, yb, ab; they add over points.

    Centre y, a and b first: sums of large numbers lose the digits that squared deviations need.
    """
    y, a, b = np.broadcast_arrays(y, a, b)
    return np.stack([np.ones_like(y), y, a, b, y * y, a * a, b * b, y * a, y * b, a * b], axis=-1)


def fits_of(total: Floats) -> Fits:
    """The three fits from summed moments [..., 10]."""
    yy, aa, bb, ya, yb, ab = about_mean(total)
    determinant = aa * bb - ab * ab
    determinant = np.where(determinant > COLLINEAR * aa * bb, determinant, np.nan)
    slope_a_given_b, slope_b_given_a = (ya * bb - yb * ab) / determinant, (yb * aa - ya * ab) / determinant
    return Fits(
        r2_a=_ratio(ya * ya, aa * yy),
        r2_b=_ratio(yb * yb, bb * yy),
        r2_both=_ratio(slope_a_given_b * ya + slope_b_given_a * yb, yy),
        slope_a=_ratio(ya, aa),
        slope_b=_ratio(yb, bb),
        slope_a_given_b=slope_a_given_b,
        slope_b_given_a=slope_b_given_a,
    )


def about_mean(total: Floats, at: Floats | None = None) -> tuple[Floats, ...]:
    """Products yy, aa, bb, ya, yb, ab of summed moments [..., 10] about `at` [..., 3], by default about their mean."""
    n, *rest = np.moveaxis(total, -1, 0)
    sums, products = rest[:3], rest[3:]
    known = np.where(n > 0, n, np.nan)
    about = [s / known for s in sums] if at is None else list(np.moveaxis(at, -1, 0))
    return tuple(
        product - about[i] * sums[j] - about[j] * sums[i] + n * about[i] * about[j]
        for product, (i, j) in zip(products, _PAIRS, strict=True)
    )


def least_squares(y: Floats, a: Floats, b: Floats) -> Fits:
    """The same fits of one sample [C] by `statsmodels.OLS` with an intercept; NaN where a regressor is degenerate."""
    a_varies, b_varies, y_varies = (_varies(v) for v in (a, b, y))
    collinear = a_varies and b_varies and 1 - np.corrcoef(a, b)[0, 1] ** 2 < COLLINEAR
    nothing = (np.nan, (np.nan, np.nan, np.nan))
    on_a = _ols(y, a) if a_varies and y_varies else nothing
    on_b = _ols(y, b) if b_varies and y_varies else nothing
    both = _ols(y, a, b) if a_varies and b_varies and y_varies and not collinear else nothing
    return Fits(*(np.asarray(v) for v in (on_a[0], on_b[0], both[0], on_a[1][1], on_b[1][1], both[1][1], both[1][2])))


def _ols(y: Floats, *regressors: Floats) -> tuple[float, tuple[float, ...]]:
    fit = OLS(y, np.column_stack([np.ones_like(y), *regressors])).fit()
    return float(fit.rsquared), tuple(float(b) for b in fit.params)


def _varies(values: Floats) -> bool:
    """Whether the spread is more than rounding of the values themselves."""
    return len(values) > 1 and bool(np.ptp(values) > 1e-9 * max(1.0, float(np.abs(values).max())))


def _ratio(over: Floats, under: Floats) -> Floats:
    positive = under > 1e-12
    return np.where(positive, over / np.where(positive, under, 1.0), np.nan)
