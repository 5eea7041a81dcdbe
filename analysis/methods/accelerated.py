"""Accelerated failure time models by maximum likelihood: ln T = x·β + σ·ε where T is known to lie in an interval.

ε is normal (lognormal T) or minimum-Gumbel (Weibull T). In δ = β/σ and θ = 1/σ the log-likelihood of exact, interval-
and right-censored times is concave (Olsen 1978, Econometrica 46:1211; Burridge 1981, JRSS B 43:41), so Newton's method
with step halving finds its maximum wherever there is one. There is none where the censored times can be pushed to
infinity or where every interval is met exactly (σ = 0); then `fit` returns the reason.

Shapes: n times, k regressors; parameters are (δ, θ), [k + 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from grok_sweeps.analysis.methods.bootstrap import Floats, Ints

MAX_ITERATIONS = 100
_CERTAIN = 1e-6
"""Intervals are met with certainty above minus this log-likelihood, which only σ = 0 can do."""

_FLAT = 1e12
"""Condition of the information above which some direction is flat: a slope goes to infinity."""

_LARGEST = 1e6
"""A spread of ln T this many σ wide means that σ goes to zero: the maximum is at infinity."""


@dataclass(frozen=True, slots=True)
class Law:
    """ε: log density, its derivative, and log of the probability beyond and between (stable in both tails)."""

    name: str
    log_density: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    log_beyond: Callable[[Floats], Floats]
    log_between: Callable[[Floats, Floats], Floats]


def _normal_between(low: Floats, high: Floats) -> Floats:
    flip = low > 0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    top, bottom = log_ndtr(b), log_ndtr(a)
    return np.asarray(top + np.log(-np.expm1(np.minimum(bottom - top, -1e-300))))


def _gumbel_between(low: Floats, high: Floats) -> Floats:
    width = np.exp(np.minimum(high, 700.0)) - np.exp(np.minimum(low, 700.0))
    return np.asarray(-np.exp(np.minimum(low, 700.0)) + np.log(-np.expm1(-np.maximum(width, 1e-300))))


LOGNORMAL = Law(
    "lognormal",
    lambda z: -0.5 * z * z - 0.5 * np.log(2 * np.pi),
    lambda z: -z,
    lambda z: np.asarray(log_ndtr(-z)),
    _normal_between,
)
WEIBULL = Law(
    "Weibull",
    lambda z: z - np.exp(np.minimum(z, 700.0)),
    lambda z: 1 - np.exp(np.minimum(z, 700.0)),
    lambda z: -np.exp(np.minimum(z, 700.0)),
    _gumbel_between,
)


@dataclass(frozen=True, eq=False)
class Times:
    """T in (low, high] by row: low = high is exact, high = inf is right-censored, low = 0 is known from above only."""

    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Fit:
    """Maximum: β [k], σ, their covariance [k + 1, k + 1] from the information, and rows' scores for a robust one."""

    beta: Floats
    sigma: float
    log_likelihood: float
    covariance: Floats
    influence: Floats

    def clustered(self, cluster: Ints) -> Floats:
        """Sandwich covariance of (β, σ) by cluster, with the factor G/(G − 1)."""
        groups = int(cluster.max()) + 1
        sums = np.zeros((groups, self.influence.shape[1]))
        np.add.at(sums, cluster, self.influence)
        return np.asarray(sums.T @ sums * groups / (groups - 1))


def fit(times: Times, design: Floats, law: Law) -> Fit | str:
    """Maximise the likelihood of ln T on `design` [n, k] (with its intercept), or say why there is no maximum."""
    known = np.isfinite(times.high)
    if not known.any():
        return "no run is known to have grokked, so the likelihood has no maximum"
    middle = np.where(known, np.log((times.low + np.where(known, times.high, 0.0)) / 2 + 1e-12), 0.0)
    start = np.where(known, middle, np.log(np.maximum(times.low, 1.0)))
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return "the regressors are collinear"
    beta = np.linalg.lstsq(design, start, rcond=None)[0]
    spread = max(float(np.std(start - design @ beta)), 1e-2)
    at = np.append(beta / spread, 1 / spread)
    with np.errstate(all="ignore"):
        value, scores, hessian = _likelihood(at, times, design, law)
        for _ in range(MAX_ITERATIONS):
            gradient = scores.sum(axis=0)
            try:
                step = np.linalg.solve(hessian, -gradient)
            except np.linalg.LinAlgError:
                return _NO_MAXIMUM
            decrement = float(gradient @ step)
            if not np.isfinite(decrement) or at[-1] * max(np.ptp(start), 1.0) > _LARGEST:
                return _NO_MAXIMUM
            if decrement < 1e-12:
                return _finish(at, value, scores, hessian, times)
            size = 1.0
            while size > 1e-10:
                trial = at + size * step
                tried = _likelihood(trial, times, design, law) if trial[-1] > 0 else (-np.inf, scores, hessian)
                if tried[0] > value + 1e-4 * size * decrement:
                    break
                size /= 2
            else:
                return _finish(at, value, scores, hessian, times) if decrement < 1e-6 else _NO_MAXIMUM
            at, (value, scores, hessian) = trial, tried
    return _NO_MAXIMUM


_NO_MAXIMUM = "the likelihood has no maximum: the times show no spread, or censored runs alone stand at one end"


def _finish(at: Floats, value: float, scores: Floats, hessian: Floats, times: Times) -> Fit | str:
    theta = at[-1]
    information = -hessian
    certain = value > -_CERTAIN and not (times.low == times.high).any()
    if certain or np.linalg.cond(information) > _FLAT:
        return _NO_MAXIMUM
    inverse = np.linalg.inv(information)
    jacobian = np.eye(len(at)) / theta
    jacobian[:, -1] = -at / theta**2
    jacobian[-1, -1] = -1 / theta**2
    return Fit(
        beta=at[:-1] / theta,
        sigma=float(1 / theta),
        log_likelihood=value,
        covariance=jacobian @ inverse @ jacobian.T,
        influence=scores @ inverse @ jacobian.T,
    )


def _likelihood(at: Floats, times: Times, design: Floats, law: Law) -> tuple[float, Floats, Floats]:
    """Log-likelihood of T (not ln T), scores by row [n, k + 1] and Hessian at parameters (δ, θ)."""
    exact, right = times.low == times.high, np.isinf(times.high)
    between = ~exact & ~right
    low = np.log(np.maximum(times.low, 1e-300))
    high = np.log(np.where(right, 1.0, times.high))
    low_row, high_row = np.column_stack([-design, low]), np.column_stack([-design, high])
    z_low, z_high = low_row @ at, high_row @ at
    value = np.zeros(len(low))
    scores = np.zeros_like(low_row)
    curve_low, curve_high = np.zeros(len(low)), np.zeros(len(low))

    z = z_high[exact]
    value[exact] = np.log(at[-1]) + law.log_density(z) - high[exact]
    scores[exact] = law.slope(z)[:, None] * high_row[exact]
    scores[exact, -1] += 1 / at[-1]
    curve_high[exact] = _second(law, z)

    z = z_low[right]
    value[right] = law.log_beyond(z)
    hazard = np.exp(law.log_density(z) - value[right])
    scores[right] = -hazard[:, None] * low_row[right]
    curve_low[right] = -hazard * law.slope(z) - hazard**2

    a, b = z_low[between], z_high[between]
    value[between] = law.log_between(a, b)
    left = np.where(times.low[between] > 0, np.exp(law.log_density(a) - value[between]), 0.0)
    top = np.exp(law.log_density(b) - value[between])
    inner = top[:, None] * high_row[between] - left[:, None] * low_row[between]
    scores[between] = inner
    curve_high[between] = top * law.slope(b)
    curve_low[between] = np.where(left > 0, -left * law.slope(a), 0.0)

    hessian = (low_row * curve_low[:, None]).T @ low_row + (high_row * curve_high[:, None]).T @ high_row
    hessian -= inner.T @ inner
    hessian[-1, -1] -= exact.sum() / at[-1] ** 2
    total = float(value.sum())
    return (total if np.isfinite(total) else -np.inf), scores, hessian


def _second(law: Law, z: Floats) -> Floats:
    """Second derivative of the log density: -1 for the normal, -exp(z) for the Gumbel law."""
    return np.full(len(z), -1.0) if law is LOGNORMAL else -np.exp(np.minimum(z, 700.0))
