"""The grokking time with its censoring: what ρ and τ do to it when runs that never grokked stay in.

A run that grokked at a reading did so after the reading before: T lies in (step − eval_every, step]. One that spent its
budget, or diverged, has T beyond steps_run. Leaving such runs out makes slow cells look fast; a median needs most of a
cell. The models here use both kinds: lognormal and Weibull accelerated failure time by maximum likelihood
(`accelerated`), and Cox's proportional hazards (statsmodels PHReg), which assumes no law but takes the steps as exact.

Regressors are what the experimenter set and every run therefore has: ρ and ln τ. L at grokking does not exist for a run
that never grokked, so no model with L can keep the censored runs; such models (`mediation`, `mediators`) say how many
they lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.linalg import LinAlgError
from scipy.stats import t
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from grok_sweeps.analysis.estimate import LEVEL, Basis, Estimate, Named
from grok_sweeps.analysis.estimators.survival_curves import KaplanMeier, kaplan_meier
from grok_sweeps.analysis.estimators.survival_medians import CellMedian, cell_medians
from grok_sweeps.analysis.estimators.survival_sample import (
    BY_INFORMATION,
    CLUSTERED,
    TIMES,
    UNITS,
    CensoredSample,
    censored_sample,
)
from grok_sweeps.analysis.methods.accelerated import LOGNORMAL, WEIBULL, Fit, Law, fit
from grok_sweeps.analysis.methods.bootstrap import Floats
from grok_sweeps.analysis.table.cells import Cell

MIN_RUNS = 5
_MAX_ITERATIONS = 30
"""Newton's method takes five to ten to a maximum, and steps on for ever where there is none."""

_NO_MAXIMUM = "the partial likelihood has no maximum: the steps of the cells do not overlap"


@dataclass(frozen=True, slots=True)
class Survival(Named):
    """All estimates of one family; `n_censored` runs did not grok (`medians` has every cell that holds one)."""

    estimates: tuple[Estimate, ...]
    medians: tuple[CellMedian, ...]
    curves: tuple[KaplanMeier, ...]
    n_censored: int


def survival(cells: Sequence[Cell], rows: pd.DataFrame) -> Survival:
    """AFT and Cox models of grokked_step on rho and ln tau, and medians of cells with censored runs, of one family.

    `rows` are the clean runs of the family (`eval_every`, `steps_run`, `max_steps` by run_id), `cells` their cells.
    """
    used = [c for c in cells if c.arm == "clamp" and c.rho is not None and not c.superseded and c.tau > 0]
    sample = censored_sample(used, rows)
    n_censored = int((~sample.grokked).sum())
    problem = _problem(sample)
    design = np.column_stack([np.ones(len(sample.cell)), sample.regressors])
    normal, weibull = (problem or fit(sample.times, design, law) for law in (LOGNORMAL, WEIBULL))
    estimates = (
        *_accelerated(sample, LOGNORMAL, normal),
        *_accelerated(sample, WEIBULL, weibull),
        *_cox(sample, None if isinstance(weibull, str) else -weibull.beta[1:] / weibull.sigma),
        _dropped(sample),
    )
    return Survival(estimates, cell_medians(used, sample), kaplan_meier(used, sample), n_censored)


def _problem(sample: CensoredSample) -> str:
    if len(sample.cell) < MIN_RUNS:
        return f"usable runs of arm clamp: {len(sample.cell)}, at least {MIN_RUNS} are needed"
    return "" if sample.names else "neither rho nor tau varies"


def _accelerated(sample: CensoredSample, law: Law, fitted: Fit | str) -> tuple[Estimate, ...]:
    prefix = f"aft_{law.name.lower()}"
    shared = f"{law.name} accelerated failure time model of T on {' and '.join(sample.names)} by maximum likelihood."
    made = []
    for name, unit in UNITS.items():
        reason = fitted if isinstance(fitted, str) else "" if name in sample.names else f"{name} does not vary"
        method = f"Slope of ln T on {name}. {shared} {TIMES}"
        if reason or isinstance(fitted, str):
            made.append(sample.absent(f"{prefix}_{name}", unit, method, reason))
            continue
        at = 1 + sample.names.index(name)
        made.append(_wald(f"{prefix}_{name}", unit, method, float(fitted.beta[at]), at, fitted, sample))
    texts = ((f"{prefix}_sigma", "ln step", f"Scale of ln T. {shared} {TIMES}"),
             (f"{prefix}_aic", "1", f"AIC, to compare the laws: 2k − 2 ln likelihood. {shared} {TIMES}"))  # fmt: skip
    if isinstance(fitted, str):
        return (*made, *(sample.absent(*text, fitted) for text in texts))
    sigma = _wald(*texts[0], fitted.sigma, -1, fitted, sample)
    aic = 2 * len(fitted.covariance) - 2 * fitted.log_likelihood
    return (*made, sigma, sample.stated(*texts[1], aic, why="a score of the fit, which has no interval"))


def _cox(sample: CensoredSample, start: Floats | None) -> tuple[Estimate, ...]:
    """Proportional hazards, sought from `start` [k]: a Weibull model is one, with the slopes −β / σ."""
    method = (
        "Cox proportional hazards (statsmodels PHReg, Efron's ties), steps taken as exact: ln of the hazard ratio, "
        f"below 0 is slower. {TIMES}"
    )
    problem = _problem(sample) or ("" if sample.grokked.any() else "no run grokked")
    beta, spread = np.array([]), np.array([])
    robust = not sample.no_seeds
    if not problem:
        steps = np.where(sample.grokked, sample.times.high, sample.times.low)
        model = PHReg(steps, sample.regressors, status=sample.grokked.astype(int), ties="efron")
        try:
            with warnings.catch_warnings(record=True) as told, np.errstate(all="ignore"):
                warnings.simplefilter("always")
                result = model.fit(start_params=start, maxiter=_MAX_ITERATIONS, groups=sample.seed if robust else None)
                beta, spread = np.asarray(result.params), np.sqrt(np.diag(result.cov_params()))
        except (LinAlgError, ValueError, FloatingPointError):
            problem = _NO_MAXIMUM
        else:
            ended = not any(issubclass(w.category, ConvergenceWarning) for w in told)
            if not (ended and np.all(np.isfinite(beta)) and np.all(np.isfinite(spread)) and np.all(spread > 0)):
                problem = _NO_MAXIMUM
    n_seeds = int(sample.seed.max(initial=0)) + 1
    width = t.ppf((1 + LEVEL) / 2, n_seeds - 1) * np.sqrt(n_seeds / (n_seeds - 1)) if robust else t.ppf(0.975, np.inf)
    made = []
    for name, step_unit in UNITS.items():
        unit = step_unit.replace("ln step", "ln hazard")
        reason = problem or ("" if name in sample.names else f"{name} does not vary")
        if reason:
            made.append(sample.absent(f"cox_{name}", unit, method, reason))
            continue
        at = sample.names.index(name)
        value, half = float(beta[at]), float(width * spread[at])
        text = f"{method} {CLUSTERED if robust else BY_INFORMATION}"
        made.append(sample.stated(f"cox_{name}", unit, text, value, (value - half, value + half)))
    return tuple(made)


def _dropped(sample: CensoredSample) -> Estimate:
    """What leaving the censored runs out would have given."""
    name, method = "dropped_rho", (
        "For comparison only, biased where a run is censored: least squares of ln grokked_step on the regressors over "
        "the grokked runs alone."
    )  # fmt: skip
    kept = sample.grokked
    design = np.column_stack([np.ones(kept.sum()), sample.regressors[kept]])
    reason = _problem(sample) or ("" if "rho" in sample.names else "rho does not vary")
    if not reason and np.linalg.matrix_rank(design) < design.shape[1]:
        reason = "the grokked runs alone do not tell the regressors apart"
    if reason:
        return sample.absent(name, UNITS["rho"], method, reason)
    beta = np.linalg.lstsq(design, np.log(sample.times.high[kept]), rcond=None)[0]
    left_out = (*sample.left_out, f"{(~kept).sum()} runs that did not grok") if not kept.all() else sample.left_out
    why = "for comparison only: an interval about a biased value would cover the truth less than it says"
    grokked = Basis(int(kept.sum()), sample.n_cells, left_out)
    return grokked.stated(name, UNITS["rho"], method, float(beta[1]), why=why)


def _wald(name: str, unit: str, method: str, value: float, at: int, fitted: Fit, sample: CensoredSample) -> Estimate:
    covariance, width, text = sample.covariance(fitted)
    half = float(width * np.sqrt(covariance[at, at]))
    return sample.stated(name, unit, f"{method} {text}", value, (value - half, value + half))
