"""Kaplan and Meier's curve of every cell: the share of its runs that have not grokked, whatever the law of T."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from statsmodels.duration.survfunc import SurvfuncRight

from grok_sweeps.analysis.estimate import LEVEL
from grok_sweeps.analysis.estimators.survival_sample import CensoredSample
from grok_sweeps.analysis.methods.bootstrap import Floats
from grok_sweeps.analysis.table.cells import Cell


@dataclass(frozen=True, slots=True)
class KaplanMeier:
    """Share of a cell's runs that have not grokked after each `steps` at which one did (Kaplan, Meier 1958).

    `low` and `high` are its pointwise interval by ln(−ln share), None where the share is 0; `ended` are the steps at
    which runs ended without grokking. Steps are taken as exact.
    """

    rho: float
    tau: float
    n_runs: int
    steps: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    ended: tuple[float, ...]


def kaplan_meier(used: Sequence[Cell], sample: CensoredSample) -> tuple[KaplanMeier, ...]:
    """One curve for every cell that has a usable run."""
    made = []
    for i in np.unique(sample.cell):
        here = sample.cell == i
        grokked, cell = sample.grokked[here], used[i]
        ended = tuple(sorted(sample.times.low[here][~grokked].tolist()))
        steps = share = error = np.empty(0)
        if grokked.any():
            fitted = SurvfuncRight(np.where(grokked, sample.times.high[here], sample.times.low[here]), grokked)
            steps, share, error = fitted.surv_times, fitted.surv_prob, fitted.surv_prob_se
        low, high = _pointwise(share, error)
        made.append(
            KaplanMeier(cell.rho or 0.0, cell.tau, int(here.sum()), tuple(steps), tuple(share), low, high, ended)
        )
    return tuple(made)


def _pointwise(share: Floats, error: Floats) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Interval of each share by the normal distribution of ln(−ln share), None where the share is 0."""
    inner = share > 0
    log_share = np.log(np.where(inner, share, 0.5))
    reach = float(norm.ppf((1 + LEVEL) / 2)) * np.where(inner, error, 0.0) / (np.where(inner, share, 0.5) * log_share)
    ends = (np.exp(log_share * np.exp(sign * np.abs(reach))) for sign in (1, -1))
    low, high = (tuple(float(v) if ok else None for v, ok in zip(e, inner, strict=True)) for e in ends)
    return low, high
