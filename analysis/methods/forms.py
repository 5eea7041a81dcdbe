"""Three forms of ln T over a dose x, by least squares, all resamples at once.

arXiv:2606.18465 sets the exponential ln T = c + a x against a power law c + b ln(x - x0) and a saddle-node
c - ln(x0 - x) / 2. The last two have one parameter that is not linear; it is searched on a fixed grid, so a fit is a
matrix product, always ends, and gives the same for the sample and its resamples. For the power law 0 <= x0 < min x, the
bound of the published numbers: from below, x0 -> -infinity is the exponential itself.

Shapes: B samples, n cells, G grid points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import f as f_distribution

from grok_sweeps.analysis.estimate import LEVEL
from grok_sweeps.analysis.methods.bootstrap import Floats

GRID = 400
SMALLEST = 1e-100
"""A regressor below this has squares or cubes that are no float64 numbers, and fits that look like numbers."""
EXPONENTIAL, POWER, SADDLE_NODE = "exponential", "power", "saddle_node"
MEAN_PARAMETERS = {EXPONENTIAL: 2, POWER: 3, SADDLE_NODE: 2}
"""Parameters of the mean, the k of the paper's AIC; AICc counts the variance too."""


@dataclass(frozen=True, eq=False)
class FormFits:
    """Residual sums of squares [B] of each form, and slope and R2 [B] of the exponential; n cells."""

    n: int
    rss: dict[str, Floats]
    slope: Floats
    intercept: Floats
    r_squared: Floats

    def aic(self, form: str) -> Floats:
        """AIC as the paper counts it, n ln(RSS / n) + 2 k (arXiv:2606.18465)."""
        return np.asarray(self.n * np.log(np.maximum(self.rss[form], 1e-300) / self.n) + 2 * MEAN_PARAMETERS[form])

    def aicc(self, form: str) -> Floats:
        """AIC with the variance counted, plus 2 K (K + 1) / (n - K - 1); NaN where n <= K + 1 (Hurvich, Tsai 1989)."""
        k = MEAN_PARAMETERS[form] + 1
        more = 2 * k * (k + 1) / (self.n - k - 1) if self.n > k + 1 else np.nan
        return self.aic(form) + 2 + more


@dataclass(frozen=True, slots=True)
class FittedForm:
    """One form fitted to the full sample, as a curve: ln T = intercept + coefficient shape(x).

    The shape is x for the exponential (`x0` is None), ln|x - x0| for the power law and the saddle-node.
    """

    form: str
    intercept: float
    coefficient: float
    x0: float | None = None

    def steps(self, x: Floats) -> Floats:
        """T at the doses x [n], which lie on the side of x0 on which the fitted doses lie."""
        shape = x if self.x0 is None else np.log(np.abs(x - self.x0))
        return np.asarray(np.exp(self.intercept + self.coefficient * shape))


def fit_forms(y: Floats, x: Floats) -> FormFits:
    """Fit y [B, n] on x [n] by all three forms; x positive and not constant."""
    centred = y - y.mean(axis=1, keepdims=True)
    total = (centred**2).sum(axis=1)
    away = x - x.mean()
    slope = centred @ away / (away @ away)
    exponential = np.maximum(total - slope**2 * (away @ away), 0.0)
    regressors = np.log(x - power_grid(x)[:, None])
    regressors -= regressors.mean(axis=1, keepdims=True)
    unit = regressors / np.sqrt((regressors**2).sum(axis=1, keepdims=True))
    power = np.maximum(total - ((centred @ unit.T) ** 2).max(axis=1), 0.0)
    shape = -0.5 * np.log(_saddle_grid(x)[:, None] - x)
    shape -= shape.mean(axis=1, keepdims=True)
    saddle = (total[:, None] - 2 * centred @ shape.T + (shape**2).sum(axis=1)).min(axis=1)
    return FormFits(
        len(x),
        {EXPONENTIAL: exponential, POWER: power, SADDLE_NODE: np.maximum(saddle, 0.0)},
        slope,
        y.mean(axis=1) - slope * x.mean(),
        1 - exponential / np.where(total > 0, total, np.nan),
    )


def fitted_forms(y: Floats, x: Floats) -> tuple[FittedForm, ...]:
    """The curves of `fit_forms` for the one sample y [n] on x [n]: exponential, power law, saddle-node."""
    exponent, rss, _ = _power_fits(y, x)
    place = int(np.argmin(rss))
    ends = _saddle_grid(x)
    shape = -0.5 * np.log(ends[:, None] - x)
    off = y - y.mean() - (shape - shape.mean(axis=1, keepdims=True))
    end = float(ends[np.argmin((off**2).sum(axis=1))])

    def curve(form: str, coefficient: float, x0: float | None = None) -> FittedForm:
        free = FittedForm(form, 0.0, coefficient, x0)
        return FittedForm(form, float(np.mean(y - np.log(free.steps(x)))), coefficient, x0)

    return (
        curve(EXPONENTIAL, slope_profile(y, x)[0]),
        curve(POWER, float(exponent[place]), float(power_grid(x)[place])),
        curve(SADDLE_NODE, -0.5, end),
    )


def power_grid(x: Floats) -> Floats:
    """Values of x0 [G] from 0 to just below the smallest x."""
    return np.asarray(x.min() * (1 - np.geomspace(1e-4, 1.0, GRID)))


def _saddle_grid(x: Floats) -> Floats:
    return np.asarray(x.max() + np.ptp(x) * np.geomspace(1e-4, 1e4, GRID))


def slope_profile(y: Floats, x: Floats, level: float = LEVEL) -> tuple[float, tuple[float, float]]:
    """Slope of y [n] on x [n] and its profile-likelihood interval.

    Where n ln(RSS(slope) / RSS) stays below n ln(1 + F / (n - 2)), F the quantile of F(1, n - 2): the likelihood ratio
    with the threshold that is exact for normal errors (chi-squared covers 89 % at n = 7).
    """
    away, centred = x - x.mean(), y - y.mean()
    slope = float(centred @ away / (away @ away))
    rss = float(((centred - slope * away) ** 2).sum())
    reach = np.sqrt(rss * _threshold(len(x) - 2, level) / (away @ away))
    return slope, (slope - float(reach), slope + float(reach))


def power_profile(y: Floats, x: Floats, level: float = LEVEL) -> tuple[float, tuple[float, float]]:
    """Exponent b of c + b ln(x - x0) and its profile-likelihood interval over all x0 of the grid; n - 3 freedoms."""
    exponent, rss, squares = _power_fits(y, x)
    limit = rss.min() * (1 + _threshold(len(x) - 3, level))
    inside = rss <= limit
    reach = np.sqrt(np.maximum(limit - rss, 0.0) / squares)
    low, high = (exponent - reach)[inside].min(), (exponent + reach)[inside].max()
    return float(exponent[np.argmin(rss)]), (float(low), float(high))


def _power_fits(y: Floats, x: Floats) -> tuple[Floats, Floats, Floats]:
    """Exponent, residual and regressor sum of squares, each [G], of c + b ln(x - x0) at every x0 of the grid."""
    centred = y - y.mean()
    regressors = np.log(x - power_grid(x)[:, None])
    regressors -= regressors.mean(axis=1, keepdims=True)
    squares = (regressors**2).sum(axis=1)
    exponent = regressors @ centred / squares
    return exponent, float(centred @ centred) - exponent**2 * squares, squares


def steps_profile(steps: Floats, x: Floats, level: float = LEVEL) -> tuple[float, tuple[float, float]] | None:
    """Exponent a of T = exp(c + a x) by least squares on T [n] itself, and its profile-likelihood interval.

    Errors are then additive and the slowest cells weigh most; None where the interval does not end.
    """
    away = x - x.mean()
    steps = steps / steps.max()
    total = float(steps @ steps)

    def rss(a: float) -> float:
        shape = np.exp(a * away - np.max(a * away))
        return total - float(steps @ shape) ** 2 / float(shape @ shape)

    start = slope_profile(np.log(steps), x)[0]
    step = 3 / np.abs(away).max()
    best = minimize_scalar(rss, bounds=(start - step, start + step), method="bounded", options={"xatol": 1e-10 * step})
    at = float(best.x)
    limit = rss(at) * (1 + _threshold(len(x) - 2, level))
    ends = [at + 20 * sign * step for sign in (-1, 1)]
    if min(rss(e) for e in ends) <= limit or rss(at) <= 0:
        return None
    low, high = (float(brentq(lambda a: rss(a) - limit, *sorted((at, end)))) for end in ends)
    return at, (low, high)


def _threshold(freedoms: int, level: float) -> float:
    return float(f_distribution.ppf(level, 1, freedoms)) / freedoms
