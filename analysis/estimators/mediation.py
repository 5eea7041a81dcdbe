"""How much of the dose's effect on the grokking time runs through the logit scale: ACME, ADE and their sensitivity.

ln L on the dose x and ln τ, ln T on x and ln L (`pathways`), with x scaled so that 0 is the baseline and 1 the raised
dose. The temperature moves L and is left out of the second model: that τ acts through L only is what identifies b from
more than the luck of the seeds, and it is an assumption. With τ as an instrument, b is free of what disturbs L and T of
one run alike; the sensitivity analysis asks how strong that would have to be.

What can go wrong: L is read when the outcome happens (see CAVEAT); a run that never grokked has neither L nor T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grok_sweeps.analysis.estimate import Estimate, Named
from grok_sweeps.analysis.estimators.recovery import RHO_UP
from grok_sweeps.analysis.methods.bootstrap import Floats
from grok_sweeps.analysis.methods.convention import (
    MINUS,
    PAPER,
    PAPER_T,
    RUNS,
    RUNS_T,
    InBoth,
    paper_scales,
    scale_sentence,
    usable,
)
from grok_sweeps.analysis.methods.mediation_check import simulated
from grok_sweeps.analysis.methods.pathways import Effects, M, X, Y, Z, effects
from grok_sweeps.analysis.methods.products import covariance
from grok_sweeps.analysis.methods.resampled import Kind, interval_of, runs_minus_paper
from grok_sweeps.analysis.methods.samples import Sample, Samples
from grok_sweeps.analysis.table.cells import Cell

CAVEAT = (
    "L is endogenous. It is measured at the grokking step, after the process that ends in grokking began and at a time "
    "that the outcome itself chooses: a run that groks later reads its L later, and L grows during training. So L is "
    "no mediator that was set before the outcome, sequential ignorability (Imai et al. 2010) does not hold by design, "
    "and ACME is a decomposition under two linear models, not a proven causal effect. Only ρ and τ were set by the "
    "experimenter: the total effect is causal; the instrumented estimate is so as far as τ acts through L alone."
)

MIN_ROWS = 5
"""Rows below which the second model, of three coefficients, leaves next to nothing to judge it by."""

WEAK_F = 10.0
"""First-stage F below which an instrument is called weak (Staiger and Stock 1997)."""

CURVE = tuple(round(0.1 * i, 1) for i in range(-9, 10))
"""Error correlations at which the sensitivity curve is drawn."""

_IDENTIFIED = "tau moves L and is assumed to act through L only, so it is not in the second model."
_UNIDENTIFIED = "tau does not vary: b rests on the differences between runs of one dose alone."


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of the two models: `needs` names what can keep it from being stated, `alone` drops tau from both."""

    name: str
    unit: str
    sentence: str
    of: Callable[[Effects], Floats]
    needs: str = ""
    alone: bool = False
    kind: Kind = Kind.EXPANDED


QUANTITIES = (
    Quantity("acme", "ln step", "ACME: slope of ln L on x times slope of ln T on ln L given x.", lambda e: e.acme),
    Quantity("ade", "ln step", "ADE: slope of ln T on x given ln L.", lambda e: e.c),
    Quantity("total_effect", "ln step", "ACME + ADE.", lambda e: e.total),
    Quantity("proportion_mediated", "1", "ACME / (ACME + ADE).", lambda e: e.proportion, "total"),
    Quantity(
        "acme_zero_correlation",
        "1",
        "Correlation of the errors of the two models at which ACME would be zero, both models on x alone (Imai et al. "
        "2010): whatever moves L and T beside the dose counts, a direct effect of tau too.",
        lambda e: e.zero_correlation,
        alone=True,
        kind=Kind.CORRELATION,
    ),
    Quantity(
        "acme_zero_correlation_given_tau",
        "1",
        "The same given tau: something unmeasured that moves L and T of one run must make up this correlation.",
        lambda e: e.zero_correlation,
        "reachable",
        kind=Kind.CORRELATION,
    ),
    Quantity(
        "acme_instrumented",
        "ln step",
        "ACME with the slope on ln L by two-stage least squares, ln tau the instrument.",
        lambda e: e.acme_instrumented,
        "instrument",
    ),
    Quantity(
        "proportion_mediated_instrumented",
        "1",
        "The same over the slope of ln T on x given ln tau.",
        lambda e: e.proportion_instrumented,
        "instrument",
    ),
)


@dataclass(frozen=True, slots=True)
class SensitivityPoint:
    """ACME, in ln step, if the errors of the two models correlated by `correlation`."""

    correlation: float
    acme: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class MediationFit(Named):
    """All estimates of one convention in the order of QUANTITIES (`runs`: then SIMULATED), and both curves.

    `curve` takes both models on x alone, as Imai et al. do; `curve_given_tau` takes the errors that are left given tau.
    """

    convention: str
    estimates: tuple[Estimate, ...]
    curve: tuple[SensitivityPoint, ...]
    curve_given_tau: tuple[SensitivityPoint, ...]
    method: str


@dataclass(frozen=True, slots=True)
class Mediation(InBoth):
    """Mediation of the dose through ln L in both conventions; `caveat` belongs beside every number of it."""

    runs: MediationFit
    paper: MediationFit
    differences: tuple[Estimate, ...]
    caveat: str = CAVEAT


@dataclass(frozen=True, eq=False)
class _Fitted:
    """One convention: its sample, what is stated, and each quantity in the resamples [B], None without them."""

    sample: Sample
    fit: MediationFit
    drawn: Mapping[str, Floats | None]


def mediation(cells: Sequence[Cell], *, resamples: int, seed: int) -> Mediation:
    """ACME, ADE, total and proportion mediated of rho through ln L on ln T over the clamp cells of one family."""
    used, left_out = usable(cells)
    doses = sorted({c.rho for c in used if c.rho is not None})
    problem = "" if len(doses) > 1 else f"usable doses rho: {len(doses)}, at least 2 are needed"
    low = 1.0 if 1.0 in doses[:-1] else min(doses, default=1.0)
    high = RHO_UP if RHO_UP in doses and low < RHO_UP else max(doses, default=RHO_UP)
    given = [
        (((c.rho or 0.0) - low) / ((high - low) or 1.0), float(np.log(c.tau))) if c.tau > 0 else (0.0, np.nan)
        for c in used
    ]
    if not problem and not np.all(np.isfinite(given)):
        problem = "a cell has a temperature that is not positive"
    samples = Samples(used, given, resamples=resamples, seed=seed, left_out=left_out)
    table = samples.table
    scales = {RUNS: table.logit_scale, PAPER: paper_scales(table)}
    rows = {RUNS: f"Convention runs: {RUNS_T}.", PAPER: f"Convention paper: {PAPER_T}, {scale_sentence(table)}."}
    contrast = f"x = 0 at rho {low:g}, 1 at rho {high:g}, linear between."
    runs, paper = (_fit(samples.of(c, {"L": scales[c]}), contrast, rows[c], problem, seed) for c in (RUNS, PAPER))
    return Mediation(runs.fit, paper.fit, tuple(_difference(q, runs, paper) for q in QUANTITIES))


def _fit(sample: Sample, contrast: str, rows: str, problem: str, seed: int) -> _Fitted:
    columns = sample.columns
    instrument = len(columns) > 0 and bool(np.ptp(columns[:, Z]) > 0)
    shared = (
        f"{contrast} ln L on x{' and ln tau' if instrument else ''}; ln T on x and ln L: ordinary least squares, no "
        f"interaction. {_IDENTIFIED if instrument else _UNIDENTIFIED} {rows}"
    )
    problem = problem or _problem(columns)
    full = None if problem else effects(covariance(columns), instrument)
    if full is not None and not np.isfinite(full.acme + full.bias):
        problem, full = "x, ln L and ln tau are collinear over the rows, so no effect can be told from another", None
    if full is None:
        sample = sample.without_resamples()
    resampled = sample.resampled
    over = None if resampled is None else effects(resampled, instrument)
    alone = None if full is None else effects(covariance(columns), False)
    over_alone = None if resampled is None else effects(resampled, False)
    estimates, drawn = [], {}
    for quantity in QUANTITIES:
        fitted, of = (alone, over_alone) if quantity.alone else (full, over)
        value = np.nan if fitted is None else float(quantity.of(fitted))
        reason = problem or _why_not(quantity, full, over, len(columns), sample.n_seeds)
        if not reason and not np.isfinite(value):
            reason = "the fit is degenerate"
        values = None if of is None else quantity.of(of)
        if quantity.needs == "reachable" and values is not None:
            values = np.clip(values, -1.0, 1.0)
        drawn[quantity.name] = values
        method = f"{quantity.sentence} {shared} {quantity.kind}"
        estimates.append(sample.estimate(quantity.name, quantity.unit, method, value, values, quantity.kind, reason))
    checks = simulated(sample, instrument, problem, shared, seed) if sample.convention == RUNS else ()
    fit = MediationFit(
        sample.convention,
        (*estimates, *checks),
        _curve(alone, over_alone, sample.n_seeds),
        _curve(full, over, sample.n_seeds),
        f"{shared} {Kind.BASIC}",
    )
    return _Fitted(sample, fit, drawn)


def _difference(quantity: Quantity, runs: _Fitted, paper: _Fitted) -> Estimate:
    name, n_seeds = quantity.name, min(runs.sample.n_seeds, paper.sample.n_seeds)
    of_runs, of_paper = ((one.fit[name], one.drawn[name]) for one in (runs, paper))
    return runs_minus_paper(name + MINUS, quantity.sentence, of_runs, of_paper, n_seeds)


def _problem(columns: Floats) -> str:
    if len(columns) < MIN_ROWS:
        return f"usable rows: {len(columns)}, at least {MIN_ROWS} are needed"
    for column, name in ((X, "rho"), (M, "L"), (Y, "grokked_step")):
        if np.ptp(columns[:, column]) <= 1e-9:
            return f"{name} is the same in all rows"
    return ""


def _why_not(quantity: Quantity, full: Effects | None, over: Effects | None, n: int, n_seeds: int) -> str:
    """Reason why one quantity is not stated although the models are fitted."""
    if full is None:
        return ""
    if quantity.needs == "total" and over is not None:
        total, _ = interval_of(Kind.EXPANDED, over.total, float(full.total), n_seeds)
        if total is not None and total[0] <= 0 <= total[1]:
            return (
                f"the interval of the total effect ({total[0]:.3g} to {total[1]:.3g}) includes zero: a share of nothing"
            )
    if quantity.needs == "reachable" and abs(float(full.zero_correlation)) >= 1:
        return "no correlation of the errors brings ACME to zero: tau moves L by more than the errors could"
    if quantity.needs == "instrument":
        strength = float(full.first_stage) * (n - 3)
        if not np.isfinite(strength):
            return "tau does not vary, or L follows it exactly, so it is no instrument"
        if strength < WEAK_F:
            return f"tau hardly moves L (first-stage F {strength:.2g}, below {WEAK_F:g}): a weak instrument"
    return ""


def _curve(full: Effects | None, over: Effects | None, n_seeds: int) -> tuple[SensitivityPoint, ...]:
    if full is None:
        return ()
    values = [float(full.acme_at(r)) for r in CURVE]
    intervals = [
        None if over is None else interval_of(Kind.BASIC, over.acme_at(r), value, n_seeds)[0]
        for r, value in zip(CURVE, values, strict=True)
    ]
    return tuple(SensitivityPoint(*p) for p in zip(CURVE, values, intervals, strict=True) if np.isfinite(p[1]))
