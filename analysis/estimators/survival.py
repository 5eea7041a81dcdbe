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
from scipy.stats import norm, t
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from analysis.estimate import LEVEL, Estimate, absent
from analysis.methods.accelerated import LOGNORMAL, WEIBULL, Fit, Law, Times, fit
from analysis.methods.bootstrap import Floats, Ints
from analysis.table.cells import Cell

MIN_RUNS = 5
_MAX_ITERATIONS = 30
"""Newton's method takes five to ten to a maximum, and steps on for ever where there is none."""

_UNITS = {"rho": "ln step per unit of rho", "ln_tau": "ln step per unit of ln tau"}
_TIMES = (
    "Over the runs of arm clamp: a grokked run has T in (step − eval_every, step], a censored or diverged one T beyond "
    "steps_run; none is left out for being censored."
)
_CLUSTERED = (
    "Interval: robust covariance by seed with the factor S / (S − 1), t with S − 1 degrees of freedom, S seeds."
)
_NO_MAXIMUM = "the partial likelihood has no maximum: the steps of the cells do not overlap"
_BY_INFORMATION = "Interval: from the observed information, runs taken as independent (their seeds cannot be used)."


@dataclass(frozen=True, slots=True)
class CellMedian:
    """Median of one cell that holds a run that did not grok."""

    cell_id: str
    label: str
    n_censored: int
    median: Estimate


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


@dataclass(frozen=True, slots=True)
class Survival:
    """All estimates of one family; `n_censored` runs did not grok (`medians` has every cell that holds one)."""

    estimates: tuple[Estimate, ...]
    medians: tuple[CellMedian, ...]
    curves: tuple[KaplanMeier, ...]
    n_censored: int
    method: str

    def __getitem__(self, name: str) -> Estimate:
        return next(e for e in self.estimates if e.name == name)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Times and regressors [n, k] by run, the run's cell and seed (as numbers from 0), and what was left out."""

    times: Times
    regressors: Floats
    names: tuple[str, ...]
    cell: Ints
    seed: Ints
    no_seeds: str
    n_cells: int
    left_out: tuple[str, ...]

    @property
    def grokked(self) -> np.ndarray:
        """Which runs grokked, [n]."""
        return np.asarray(np.isfinite(self.times.high))

    def covariance(self, fitted: Fit) -> tuple[Floats, float, str]:
        """Covariance of (β, σ), the quantile to multiply its root with, and the sentence that says so."""
        if self.no_seeds:
            return fitted.covariance, float(t.ppf((1 + LEVEL) / 2, np.inf)), _BY_INFORMATION
        n_seeds = int(self.seed.max()) + 1
        return fitted.clustered(self.seed), float(t.ppf((1 + LEVEL) / 2, n_seeds - 1)), _CLUSTERED


def survival(cells: Sequence[Cell], rows: pd.DataFrame) -> Survival:
    """AFT and Cox models of grokked_step on rho and ln tau, and medians of cells with censored runs, of one family.

    `rows` are the clean runs of the family (`eval_every`, `steps_run`, `max_steps` by run_id), `cells` their cells.
    """
    used = [c for c in cells if c.arm == "clamp" and c.rho is not None and not c.superseded and c.tau > 0]
    sample = _sample(used, rows)
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
    return Survival(estimates, _medians(used, sample), _curves(used, sample), n_censored, f"{_TIMES} {_CLUSTERED}")


def _sample(used: Sequence[Cell], rows: pd.DataFrame) -> _Sample:
    by_run = rows.drop_duplicates("run_id").set_index("run_id")[["eval_every", "steps_run", "max_steps"]]
    lookup = dict(zip(by_run.index, by_run.to_numpy(dtype=np.float64), strict=True))
    low, high, cell_of, seeds, regressors = [], [], [], [], []
    n_lost = n_exact = n_diverged = 0
    for place, cell in enumerate(used):
        n_diverged += cell.n_diverged
        for run in cell.runs:
            every, ran, budget = lookup.get(run.run_id, (np.nan, np.nan, np.nan))
            end = ran if ran > 0 else budget
            if np.isfinite(run.grokked_step):
                exact = not every > 0
                n_exact += exact
                low.append(run.grokked_step if exact else max(run.grokked_step - every, 0.0))
                high.append(run.grokked_step)
            elif end > 0:
                low.append(end)
                high.append(np.inf)
            else:
                n_lost += 1
                continue
            cell_of.append(place)
            seeds.append(run.seed)
            regressors.append((cell.rho or 0.0, float(np.log(cell.tau))))
    sentences = (
        (n_lost, "runs that did not grok have neither steps_run nor max_steps"),
        (n_exact, "grokked runs have no eval_every: their step is taken as exact (not left out)"),
        (n_diverged, "diverged runs count as censored where they ended (not left out)"),
    )
    design = np.array(regressors, dtype=float).reshape(len(low), 2)
    varies = [len(low) > 0 and np.ptp(column) > 0 for column in design.T]
    known = sorted({s for s in seeds if s is not None})
    nameless = sum(s is None for s in seeds)
    no_seeds = f"{nameless} runs have no seed" if nameless else "" if len(known) > 1 else "there is one seed"
    return _Sample(
        times=Times(np.array(low, dtype=float), np.array(high, dtype=float)),
        regressors=design[:, varies],
        names=tuple(name for name, has in zip(_UNITS, varies, strict=True) if has),
        cell=np.array(cell_of, dtype=np.int64),
        seed=np.array([-1 if s is None else known.index(s) for s in seeds], dtype=np.int64),
        no_seeds=no_seeds,
        n_cells=len(set(cell_of)),
        left_out=tuple(f"{n} {what}" for n, what in sentences if n),
    )


def _problem(sample: _Sample) -> str:
    if len(sample.cell) < MIN_RUNS:
        return f"usable runs of arm clamp: {len(sample.cell)}, at least {MIN_RUNS} are needed"
    return "" if sample.names else "neither rho nor tau varies"


def _accelerated(sample: _Sample, law: Law, fitted: Fit | str) -> tuple[Estimate, ...]:
    prefix = f"aft_{law.name.lower()}"
    shared = f"{law.name} accelerated failure time model of T on {' and '.join(sample.names)} by maximum likelihood."
    made = []
    for name, unit in _UNITS.items():
        reason = fitted if isinstance(fitted, str) else "" if name in sample.names else f"{name} does not vary"
        method = f"Slope of ln T on {name}. {shared} {_TIMES}"
        if reason or isinstance(fitted, str):
            made.append(_absent(f"{prefix}_{name}", unit, method, reason, sample))
            continue
        at = 1 + sample.names.index(name)
        made.append(_wald(f"{prefix}_{name}", unit, method, float(fitted.beta[at]), at, fitted, sample))
    texts = ((f"{prefix}_sigma", "ln step", f"Scale of ln T. {shared} {_TIMES}"),
             (f"{prefix}_aic", "1", f"AIC, to compare the laws: 2k − 2 ln likelihood. {shared} {_TIMES}"))  # fmt: skip
    if isinstance(fitted, str):
        return (*made, *(_absent(*text, fitted, sample) for text in texts))
    sigma = _wald(*texts[0], fitted.sigma, -1, fitted, sample)
    aic = 2 * len(fitted.covariance) - 2 * fitted.log_likelihood
    return (*made, sigma, _plain(*texts[1], aic, sample))


def _cox(sample: _Sample, start: Floats | None) -> tuple[Estimate, ...]:
    """Proportional hazards, sought from `start` [k]: a Weibull model is one, with the slopes −β / σ."""
    method = (
        "Cox proportional hazards (statsmodels PHReg, Efron's ties), steps taken as exact: ln of the hazard ratio, "
        f"below 0 is slower. {_TIMES}"
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
    for name, step_unit in _UNITS.items():
        unit = step_unit.replace("ln step", "ln hazard")
        reason = problem or ("" if name in sample.names else f"{name} does not vary")
        if reason:
            made.append(_absent(f"cox_{name}", unit, method, reason, sample))
            continue
        at = sample.names.index(name)
        value, half = float(beta[at]), float(width * spread[at])
        text = f"{method} {_CLUSTERED if robust else _BY_INFORMATION}"
        made.append(_plain(f"cox_{name}", unit, text, value, sample, (value - half, value + half)))
    return tuple(made)


def _dropped(sample: _Sample) -> Estimate:
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
        return _absent(name, _UNITS["rho"], method, reason, sample)
    beta = np.linalg.lstsq(design, np.log(sample.times.high[kept]), rcond=None)[0]
    left_out = (*sample.left_out, f"{(~kept).sum()} runs that did not grok") if not kept.all() else sample.left_out
    return Estimate(
        name, float(beta[1]), _UNITS["rho"], method, n_runs=int(kept.sum()), n_cells=sample.n_cells, left_out=left_out
    )


def _medians(used: Sequence[Cell], sample: _Sample) -> tuple[CellMedian, ...]:
    """Lognormal model with a location for every cell that has a grokked run, and one spread for all."""
    held = [i for i, cell in enumerate(used) if cell.n_censored + cell.n_diverged]
    if not held:
        return ()
    with_event = np.unique(sample.cell[sample.grokked])
    kept = np.isin(sample.cell, with_event)
    design = (sample.cell[kept, None] == with_event).astype(float)
    part = _Sample(
        Times(sample.times.low[kept], sample.times.high[kept]), design, (), sample.cell[kept], sample.seed[kept],
        sample.no_seeds, len(with_event), sample.left_out,
    )  # fmt: skip
    fitted = fit(part.times, design, LOGNORMAL) if kept.any() else "no run grokked"
    method = (
        "exp of the cell's location in a lognormal model with a location a cell and one spread of ln T for all clamp "
        f"cells, by maximum likelihood. {_TIMES}"
    )
    made = []
    for i in held:
        cell, n_runs = used[i], int((sample.cell == i).sum())
        n_censored = cell.n_censored + cell.n_diverged
        reason = fitted if isinstance(fitted, str) else ""
        if i not in with_event:
            reason = f"all {n_censored} runs of the cell ended without grokking: the median is beyond their horizon"
        if reason or isinstance(fitted, str):
            estimate = absent("median_grokked_step_aft", "step", method, reason, n_runs=n_runs, n_cells=1)
        else:
            at = int(np.searchsorted(with_event, i))
            covariance, width, text = part.covariance(fitted)
            center, half = float(fitted.beta[at]), float(width * np.sqrt(covariance[at, at]))
            end = float(sample.times.low[(sample.cell == i) & ~sample.grokked].max(initial=0.0))
            beyond = " Beyond the horizon: an extrapolation by the lognormal law." if 0 < end < np.exp(center) else ""
            estimate = Estimate(
                "median_grokked_step_aft", float(np.exp(center)), "step", f"{method} {text}{beyond}",
                (float(np.exp(center - half)), float(np.exp(center + half))), n_runs=n_runs, n_cells=1,
            )  # fmt: skip
        made.append(CellMedian(cell.cell_id, cell.label, n_censored, estimate))
    return tuple(made)


def _curves(used: Sequence[Cell], sample: _Sample) -> tuple[KaplanMeier, ...]:
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


def _wald(name: str, unit: str, method: str, value: float, at: int, fitted: Fit, sample: _Sample) -> Estimate:
    covariance, width, text = sample.covariance(fitted)
    half = float(width * np.sqrt(covariance[at, at]))
    return _plain(name, unit, f"{method} {text}", value, sample, (value - half, value + half))


def _plain(
    name: str, unit: str, method: str, value: float, sample: _Sample, interval: tuple[float, float] | None = None
) -> Estimate:
    at = len(sample.cell), sample.n_cells, sample.left_out
    return Estimate(name, value, unit, method, interval, n_runs=at[0], n_cells=at[1], left_out=at[2])


def _absent(name: str, unit: str, method: str, reason: str, sample: _Sample) -> Estimate:
    at = len(sample.cell), sample.n_cells, sample.left_out
    return absent(name, unit, method, reason, n_runs=at[0], n_cells=at[1], left_out=at[2])
