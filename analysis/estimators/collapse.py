"""Does the logit scale L order the cells better than the dose rho? The collapse regression of arXiv:2606.18465.

y = ln T regressed on L, on rho, and on both: by convention `paper` over cells and by `runs` over runs (see
`grok_sweeps.analysis.methods.convention`). A description, no proof of mediation: L is read at the grokking step, so it
is an outcome of the same run (endogenous), and a slow cell reads its L later. Few cells share few seeds: intervals are
wide.

Beside the fits: a mixed model with the seed as random intercept, a spline against the line, and the error of predicting
a cell that was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from grok_sweeps.analysis.estimate import Estimate, absent, named
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, seed_table
from grok_sweeps.analysis.methods.convention import (
    MINUS,
    PAPER,
    PAPER_T,
    RUNS,
    RUNS_T,
    grokked_steps,
    not_grokked,
    scale_sentence,
    unscaled,
    usable,
)
from grok_sweeps.analysis.methods.mixed import mixed_model
from grok_sweeps.analysis.methods.points import MODELS, Points, prediction_errors
from grok_sweeps.analysis.methods.regression import Fits, fits_of, least_squares
from grok_sweeps.analysis.methods.resampled import Kind, Seeds, estimated, interval_of, runs_minus_paper, seeds_of
from grok_sweeps.analysis.methods.spline import spline_check
from grok_sweeps.analysis.table.cells import Cell

MIN_CELLS = 4
FEW_SEEDS = 6
"""Below this many seeds an interval over seeds is said to be a range only."""

CAVEAT = (
    "R² describes how well L or ρ orders the cells; it does not prove that the weight norm acts through L. "
    "L is itself an outcome, read at the grokking step (endogenous): a cell that groks later reads its L later, and L "
    "grows during training."
)

_CELLS = "Over cells of arm clamp in which a majority of the counted runs grokked"
_PREDICTION = (
    "Root mean square error of ln T in a cell predicted from ordinary least squares on all other cells, on {of}."
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number read from the three fits, and which regressors it needs."""

    name: str
    unit: str
    sentence: str
    of: Callable[[Fits], Floats]
    needs_scale: bool = True
    needs_rho: bool = True
    kind: Kind = Kind.EXPANDED


QUANTITIES = (
    Quantity("r2_logit_scale", "1", "R² of y on L.", lambda f: f.r2_a, needs_rho=False, kind=Kind.R2),
    Quantity("r2_rho", "1", "R² of y on rho.", lambda f: f.r2_b, needs_scale=False, kind=Kind.R2),
    Quantity("r2_both", "1", "R² of y on L and rho.", lambda f: f.r2_both, kind=Kind.R2),
    Quantity("delta_r2_rho_given_logit_scale", "1", "R²(L, rho) − R²(L).", lambda f: f.delta_b, kind=Kind.BASIC),
    Quantity("delta_r2_logit_scale_given_rho", "1", "R²(L, rho) − R²(rho).", lambda f: f.delta_a, kind=Kind.BASIC),
    Quantity(
        "partial_r2_rho_given_logit_scale",
        "1",
        "(R²(L, rho) − R²(L)) / (1 − R²(L)).",
        lambda f: f.partial_b,
        kind=Kind.R2,
    ),
    Quantity(
        "partial_r2_logit_scale_given_rho",
        "1",
        "(R²(L, rho) − R²(rho)) / (1 − R²(rho)).",
        lambda f: f.partial_a,
        kind=Kind.R2,
    ),
    Quantity(
        "slope_logit_scale", "ln step per unit of L", "Slope of y on L alone.", lambda f: f.slope_a, needs_rho=False
    ),
    Quantity(
        "slope_rho", "ln step per unit of rho", "Slope of y on rho alone.", lambda f: f.slope_b, needs_scale=False
    ),
    Quantity(
        "slope_logit_scale_given_rho",
        "ln step per unit of L",
        "Slope on L in the fit on L and rho.",
        lambda f: f.slope_a_given_b,
    ),
    Quantity(
        "slope_rho_given_logit_scale",
        "ln step per unit of rho",
        "Slope on rho in the fit on L and rho.",
        lambda f: f.slope_b_given_a,
    ),
)


@dataclass(frozen=True, slots=True)
class Collapse:
    """Estimates of convention `paper` in the order of QUANTITIES, the cells they rest on, and their shared method.

    `runs` are the same quantities by convention `runs`, `difference` is runs minus paper, with an interval from the
    same resamples; their names end in `_runs` and `_runs_minus_paper`. `prediction` is by both conventions.
    """

    estimates: tuple[Estimate, ...]
    cells: tuple[Cell, ...]
    method: str
    runs: tuple[Estimate, ...] = ()
    difference: tuple[Estimate, ...] = ()
    prediction: tuple[Estimate, ...] = ()
    mixed: tuple[Estimate, ...] = ()
    spline: tuple[Estimate, ...] = ()

    @property
    def everything(self) -> tuple[Estimate, ...]:
        """All estimates."""
        return (*self.estimates, *self.runs, *self.difference, *self.prediction, *self.mixed, *self.spline)

    def __getitem__(self, name: str) -> Estimate:
        return named(self.everything, name)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The fits of one convention: of the sample, of the resamples, and why there are none."""

    points: Points
    fits: Fits | None
    resampled: Fits | None
    errors: Callable[[Ints], dict[str, Floats]]
    problem: str
    no_rho: str
    method: str
    n_runs: int
    left_out: tuple[str, ...]


def collapse(cells: Sequence[Cell], *, resamples: int, seed: int) -> Collapse:
    """Fit ln T on L, on rho and on both over the cells of one family; needs 4 cells and 2 doses (arXiv:2606.18465)."""
    used, left_out = usable(cells)
    table = seed_table(used)
    seeds = seeds_of(table, resamples, seed)
    rho = np.array([c.rho for c in used], dtype=np.float64)
    shared = f"ordinary least squares with intercept (statsmodels OLS), unweighted.{_few_seeds(used)}"
    methods = {
        PAPER: f"{_CELLS}: {PAPER_T}, {scale_sentence(table)}; {shared}",
        RUNS: f"{_CELLS}: {RUNS_T}; {shared}",
    }
    left_out = (*left_out, *not_grokked(used))
    n_without = int((np.isnan(table.logit_scale) & ~np.isnan(grokked_steps(table))).sum())
    without = {
        PAPER: unscaled(table),
        RUNS: (f"{n_without} grokked runs without L",) if n_without else (),
    }
    paper, runs = (
        _fit(Points(table, rho, c), seeds, methods[c], len(used), (*left_out, *without[c])) for c in (PAPER, RUNS)
    )
    pairs = [(_estimate(q, paper, seeds), _estimate(q, runs, seeds, "_runs")) for q in QUANTITIES]
    return Collapse(
        tuple(e for e, _ in pairs),
        used,
        methods[PAPER],
        tuple(e for _, e in pairs),
        tuple(_difference(q, *pair, paper, runs, seeds) for q, pair in zip(QUANTITIES, pairs, strict=True)),
        tuple(_prediction(f, model, seeds) for f in (paper, runs) for model in MODELS),
        mixed_model(runs.points, left_out=runs.left_out),
        (
            *spline_check(paper.points, n_runs=paper.n_runs, left_out=paper.left_out),
            *spline_check(runs.points, n_runs=runs.n_runs, left_out=runs.left_out),
        ),
    )


def _fit(points: Points, seeds: Seeds, method: str, n_cells: int, left_out: tuple[str, ...]) -> _Fitted:
    y, scale, rho = points.sample()
    problem = "" if n_cells >= MIN_CELLS else f"usable cells: {n_cells}, at least {MIN_CELLS} are needed"
    if not problem and len(y) < MIN_CELLS:
        problem = f"runs with both grokked_step and logit_scale_at_grok: {len(y)}, at least {MIN_CELLS} are needed"
    if not problem and not (np.isfinite(scale).all() and np.isfinite(y).all()):
        problem = "not every cell has L"
    if not problem and np.ptp(y) == 0:
        problem = (
            f"all {'cells have the same median' if points.convention == PAPER else 'runs have the same'} grokked_step"
        )
    no_rho = "" if len(set(rho)) > 1 else "all usable cells have the same rho"
    drawn = None if problem or seeds.reason else points.moments(seeds.lists)
    of_drawn = None if drawn is None else prediction_errors(drawn)

    def errors(lists: Ints) -> dict[str, Floats]:
        """Of all three models at once, since they share everything but the slopes."""
        if of_drawn is not None and lists is seeds.lists:
            return of_drawn
        return prediction_errors(points.moments(lists))

    n_runs = int(np.isfinite(points.table.grokked_step).sum()) if points.convention == PAPER else len(y)
    return _Fitted(
        points,
        None if problem else least_squares(y, scale, rho),
        None if drawn is None else fits_of(drawn.sum(axis=1)),
        errors,
        problem,
        no_rho,
        method,
        n_runs,
        left_out,
    )


def _estimate(quantity: Quantity, fitted: _Fitted, seeds: Seeds, suffix: str = "") -> Estimate:
    name, method = quantity.name + suffix, f"{quantity.sentence} {fitted.method} {quantity.kind}"
    no_scale = "L is the same in all usable cells" if fitted.fits is not None and np.isnan(fitted.fits.r2_a) else ""
    reason = fitted.problem or (fitted.no_rho if quantity.needs_rho else "")
    reason = reason or (no_scale if quantity.needs_scale else "")
    value = np.nan if fitted.fits is None else float(quantity.of(fitted.fits))
    if not reason and np.isnan(value):
        reason = "L and rho are collinear over the usable cells, or one of them fits them exactly"
    n_cells = len(fitted.points.rho)
    if reason:
        return absent(
            name, quantity.unit, method, reason, n_runs=fitted.n_runs, n_cells=n_cells, left_out=fitted.left_out
        )
    interval, why = (
        (None, seeds.reason)
        if fitted.resampled is None
        else interval_of(quantity.kind, quantity.of(fitted.resampled), value, seeds.n)
    )
    return Estimate(
        name,
        value,
        quantity.unit,
        method,
        interval=interval,
        n_runs=fitted.n_runs,
        n_cells=n_cells,
        left_out=fitted.left_out,
        interval_reason=why,
        resampling=seeds.text,
    )


def _difference(
    quantity: Quantity, by_paper: Estimate, by_runs: Estimate, paper: _Fitted, runs: _Fitted, seeds: Seeds
) -> Estimate:
    name = quantity.name + MINUS
    of_runs, of_paper = (None if f.resampled is None else quantity.of(f.resampled) for f in (runs, paper))
    pair = (by_runs, of_runs), (by_paper, of_paper)
    return runs_minus_paper(name, quantity.sentence, *pair, seeds.n)


def _prediction(fitted: _Fitted, model: str, seeds: Seeds) -> Estimate:
    name = f"prediction_error_{model}" + ("" if fitted.points.convention == PAPER else "_runs")
    of = {"logit_scale": "L", "rho": "rho", "both": "L and rho"}[model]
    method = f"{_PREDICTION.format(of=of)} {fitted.method}"
    n_runs, n_cells, left_out = fitted.n_runs, len(fitted.points.rho), fitted.left_out
    if fitted.problem or (fitted.no_rho and model != "logit_scale"):
        reason = fitted.problem or fitted.no_rho
        return absent(name, "ln step", method, reason, n_runs=n_runs, n_cells=n_cells, left_out=left_out)
    return estimated(
        name,
        "ln step",
        method,
        lambda lists: fitted.errors(lists)[model],
        seeds,
        undefined="without one of the cells the others do not determine the fit",
        kind=Kind.POSITIVE,
        n_runs=n_runs,
        n_cells=n_cells,
        left_out=left_out,
    )


def _few_seeds(used: Sequence[Cell]) -> str:
    """What an interval over few seeds is worth."""
    n = len({run.seed for cell in used for run in cell.runs})
    if not 2 <= n < FEW_SEEDS:
        return ""
    return f" {n} seeds give only {comb(2 * n - 1, n)} different resamples: a range, not a 95 % coverage."
