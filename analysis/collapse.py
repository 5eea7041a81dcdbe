"""Does the logit scale L order the cells better than the dose rho? The collapse regression of arXiv:2606.18465.

y = ln(median grokked_step) of a cell, regressed on the cell's mean L, on rho, and on both. A description, no proof of
mediation: L is read at the grokking step, so it is an outcome of the same run (endogenous), and a slow cell reads its L
later. Few cells share few seeds, so intervals are wide and a partial R2 near 0 cannot have an interval that includes 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from analysis.bootstrap import Floats, draw, percentile_interval, resampled_means, resampled_medians, seed_table
from analysis.cells import Cell
from analysis.estimate import Estimate, absent
from analysis.regression import Fits, closed_form, least_squares

MIN_CELLS = 4
FEW_SEEDS = 6
"""Below this many seeds an interval over seeds is said to be a range only."""

CAVEAT = (
    "R² describes how well L or ρ orders the cells; it does not prove that the weight norm acts through L. "
    "L is itself an outcome, read at the grokking step (endogenous): a cell that groks later reads its L later, and L "
    "grows during training."
)

_CELLS = (
    "Over cells of arm clamp in which a majority of the counted runs grokked: y = ln(median grokked_step), "
    "L = mean over seeds of logit_scale_at_grok; ordinary least squares with intercept (statsmodels OLS), "
    "unweighted cells."
)
_BOOTSTRAP = (
    " Interval: percentile bootstrap over seeds, one resampled list of seeds for all cells; medians, mean L and "
    "the fit are computed anew in each resample."
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


QUANTITIES = (
    Quantity("r2_logit_scale", "1", "R² of y on L.", lambda f: f.r2_a, needs_rho=False),
    Quantity("r2_rho", "1", "R² of y on rho.", lambda f: f.r2_b, needs_scale=False),
    Quantity("r2_both", "1", "R² of y on L and rho.", lambda f: f.r2_both),
    Quantity("delta_r2_rho_given_logit_scale", "1", "R²(L, rho) − R²(L).", lambda f: f.delta_b),
    Quantity("delta_r2_logit_scale_given_rho", "1", "R²(L, rho) − R²(rho).", lambda f: f.delta_a),
    Quantity("partial_r2_rho_given_logit_scale", "1", "(R²(L, rho) − R²(L)) / (1 − R²(L)).", lambda f: f.partial_b),
    Quantity("partial_r2_logit_scale_given_rho", "1", "(R²(L, rho) − R²(rho)) / (1 − R²(rho)).", lambda f: f.partial_a),
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
    """The estimates in the order of QUANTITIES, the cells that they rest on, and the part of the method they share."""

    estimates: tuple[Estimate, ...]
    cells: tuple[Cell, ...]
    method: str

    def __getitem__(self, name: str) -> Estimate:
        return next(e for e in self.estimates if e.name == name)


def collapse(cells: Sequence[Cell], *, resamples: int, seed: int) -> Collapse:
    """Fit ln T on L, on rho and on both over the cells of one family; needs 4 cells and 2 doses (arXiv:2606.18465)."""
    used, left_out = usable(cells)
    n_runs = sum(c.n_counted for c in used)
    problem = "" if len(used) >= MIN_CELLS else f"usable cells: {len(used)}, at least {MIN_CELLS} are needed"
    y, scale, rho = (np.array(v, dtype=float) for v in _columns(used))
    if not problem and np.ptp(y) == 0:
        problem = "all cells have the same median grokked_step"
    no_rho = "" if len(set(rho)) > 1 else "all usable cells have the same rho"
    fits = None if problem else least_squares(y, scale, rho)
    no_scale = "L is the same in all usable cells" if fits is not None and np.isnan(fits.r2_a) else ""
    resampled, no_interval = (None, "") if problem else _resampled(used, rho, resamples, seed)

    shared = f"{_CELLS}{_BOOTSTRAP}{_few_seeds(used)}"

    def estimate(quantity: Quantity) -> Estimate:
        method = f"{quantity.sentence} {shared}"
        reason = problem or (no_rho if quantity.needs_rho else "") or (no_scale if quantity.needs_scale else "")
        value = np.nan if fits is None else float(quantity.of(fits))
        if not reason and np.isnan(value):
            reason = "L and rho are collinear over the usable cells, or one of them fits them exactly"
        if reason:
            return absent(
                quantity.name, quantity.unit, method, reason, n_runs=n_runs, n_cells=len(used), left_out=left_out
            )
        interval, why = (None, no_interval) if resampled is None else percentile_interval(quantity.of(resampled))
        return Estimate(
            quantity.name,
            value,
            quantity.unit,
            method,
            interval=interval,
            n_runs=n_runs,
            n_cells=len(used),
            left_out=left_out,
            interval_reason=why,
        )

    return Collapse(tuple(estimate(q) for q in QUANTITIES), used, shared)


def _few_seeds(used: Sequence[Cell]) -> str:
    """What an interval over few seeds is worth."""
    n = len({run.seed for cell in used for run in cell.runs})
    if not 2 <= n < FEW_SEEDS:
        return ""
    return f" {n} seeds give only {comb(2 * n - 1, n)} different resamples: a range, not a 95 % coverage."


def usable(cells: Sequence[Cell]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """The cells that a collapse may use, and a sentence for each that it may not."""
    used, left_out = [], []
    for cell in cells:
        why = _why_not(cell)
        if why:
            left_out.append(f"{cell.label}: {why}")
        else:
            used.append(cell)
    return tuple(used), tuple(left_out)


def _why_not(cell: Cell) -> str:
    if cell.arm != "clamp" or cell.rho is None:
        return "the norm is not held at one dose"
    if cell.superseded:
        return cell.superseded
    if 2 * cell.n_grokked <= cell.n_counted:
        return f"no majority grokked ({cell.n_grokked} of {cell.n_counted})"
    return cell.grokked_step.reason or cell.logit_scale.reason


def _columns(used: Sequence[Cell]) -> tuple[list[float], list[float], list[float]]:
    return (
        [float(np.log(c.grokked_step.value or 1.0)) for c in used],
        [c.logit_scale.value or 0.0 for c in used],
        [c.rho or 0.0 for c in used],
    )


def _resampled(used: Sequence[Cell], rho: Floats, resamples: int, seed: int) -> tuple[Fits | None, str]:
    table = seed_table(used)
    if table.problem or resamples < 1:
        return None, table.problem or "no resamples were asked for"
    lists = draw(len(table.grokked_step), resamples, seed)
    steps = resampled_medians(table.grokked_step, lists)
    steps[~np.isfinite(steps)] = np.nan
    return closed_form(np.log(steps), resampled_means(table.logit_scale, lists), rho), ""
