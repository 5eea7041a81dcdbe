"""The arithmetic of mediation: both linear models, their product of slopes and its sensitivity, from covariances.

    M = ... + a·x + π·z + e2,        Y = ... + c·x + b·M + e3
x the exposure, M the mediator, Y the outcome and z a quantity that was set, moves M and is left out of the second model
(an instrument; where it does not vary both models have the same regressors, those of Imai, Keele and Tingley 2010,
Psychological Methods 15:309, equations 4 and 5). ACME = a·b, ADE = c.

Sensitivity: with corr(e2, e3) = r the least-squares slope b is off by r·σ2·σ3 / V, V the variance of M given x, and the
residual variance of Y is σ3²·(1 − r²·κ), κ = var(e2) / V. So b(r) = b − σ2·s3/V · r/√(1 − r²·κ). κ = 1, without z, is
theorem 2 of Imai, Keele and Yamamoto (2010, Statistical Science 25:51).

Shapes: [..., 4, 4] covariances of (x, z, M, Y); results [...].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grok_sweeps.analysis.methods.bootstrap import Floats
from grok_sweeps.analysis.methods.products import residual_variance, slopes

X, Z, M, Y = range(4)


@dataclass(frozen=True, eq=False)
class Effects:
    """Slopes a, b, c, the sensitivity's σ2·s3/V (`bias`) and κ, and what the instrument gives.

    `first_stage` is the partial R² of z in the first model over 1 − itself: F without its degrees of freedom.
    """

    a: Floats
    b: Floats
    c: Floats
    bias: Floats
    kappa: Floats
    b_instrumented: Floats
    total_instrumented: Floats
    first_stage: Floats

    @property
    def acme(self) -> Floats:
        """Average causal mediation effect."""
        return self.a * self.b

    @property
    def total(self) -> Floats:
        """ACME + ADE."""
        return self.a * self.b + self.c

    @property
    def proportion(self) -> Floats:
        """ACME / total."""
        return _ratio(self.acme, self.total)

    @property
    def acme_instrumented(self) -> Floats:
        """ACME with b by two-stage least squares."""
        return self.a * self.b_instrumented

    @property
    def proportion_instrumented(self) -> Floats:
        """The same over the slope of Y on x given z."""
        return _ratio(self.acme_instrumented, self.total_instrumented)

    @property
    def zero_correlation(self) -> Floats:
        """Error correlation r at which b, and so ACME, is zero; beyond ±1 there is none."""
        q = _ratio(self.b, self.bias)
        return np.asarray(q / np.sqrt(1 + self.kappa * q * q))

    def acme_at(self, correlation: float) -> Floats:
        """ACME if the errors of the two models correlate by `correlation`, in (−1, 1)."""
        slant = correlation / np.sqrt(1 - correlation**2 * self.kappa)
        return np.asarray(self.a * (self.b - self.bias * slant))


def effects(cov: Floats, instrument: bool) -> Effects:
    """All of it from covariances of (x, z, M, Y); `instrument` says whether z varies and is used."""
    design = (X, Z) if instrument else (X,)
    first, second, reduced = slopes(cov, M, design), slopes(cov, Y, (X, M)), slopes(cov, Y, design)
    free, left = residual_variance(cov, M, (X,)), residual_variance(cov, M, design)
    error = residual_variance(cov, Y, (X, M))
    nothing = np.full(cov.shape[:-2], np.nan)
    return Effects(
        a=first[..., 0],
        b=second[..., 1],
        c=second[..., 0],
        bias=_ratio(np.sqrt(left * error), free),
        kappa=_ratio(left, free),
        b_instrumented=_ratio(reduced[..., 1], first[..., 1]) if instrument else nothing,
        total_instrumented=reduced[..., 0] if instrument else nothing,
        first_stage=_ratio(free - left, left) if instrument else nothing,
    )


def _ratio(over: Floats, under: Floats) -> Floats:
    defined = np.abs(under) > 1e-300
    return np.asarray(np.where(defined, over / np.where(defined, under, 1.0), np.nan))
