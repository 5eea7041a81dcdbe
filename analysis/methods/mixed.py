"""A linear mixed model of ln T on L and rho, a row a run, with the seed as random intercept.

The 12 runs of one seed share their initial weights and split, so they are not 12 independent rows; the random intercept
takes what a seed does in every cell. A cell's own deviation from the plane is not in the model: where the plane does
not hold, its intervals are too narrow (the bootstrap over seeds has the same limit: cells are taken as given).
"""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
from scipy.stats import norm
from statsmodels.regression.mixed_linear_model import MixedLM

from grok_sweeps.analysis.estimate import LEVEL, Estimate, absent
from grok_sweeps.analysis.methods.points import Points

MIN_SEEDS = 3
_METHOD = (
    "Linear mixed model ln grokked_step ~ L + rho + (1 | seed), one row a run that grokked, L at its own grokking "
    "step; restricted maximum likelihood (statsmodels MixedLM)."
)
_WALD = " Interval: Wald, normal."
_NAMES = (
    ("mixed_slope_logit_scale", "ln step per unit of L"),
    ("mixed_slope_rho", "ln step per unit of rho"),
    ("mixed_sd_seed", "ln step"),
    ("mixed_sd_residual", "ln step"),
    ("mixed_intraclass_correlation", "1"),
)


def mixed_model(points: Points, *, left_out: tuple[str, ...] = ()) -> tuple[Estimate, ...]:
    """Slopes, standard deviations between and within seeds, and the share of variance between seeds."""
    y, scale, rho, seed, cell = points.rows
    n_runs, n_cells = len(y), len(set(cell))
    reason = points.table.problem or _problem(y, scale, rho, seed)
    fit = None if reason else _fit(y, scale, rho, seed)
    reason = reason or (fit if isinstance(fit, str) else "")
    if isinstance(fit, str) or fit is None:
        return tuple(
            absent(n, unit, _METHOD, reason, n_runs=n_runs, n_cells=n_cells, left_out=left_out) for n, unit in _NAMES
        )
    slopes, errors, between, within = fit
    reach = norm.ppf((1 + LEVEL) / 2) * errors
    values = (*slopes, np.sqrt(between), np.sqrt(within), between / (between + within))
    spreads = [(float(v - r), float(v + r)) for v, r in zip(slopes, reach, strict=True)]
    return tuple(
        Estimate(
            name,
            float(values[i]),
            unit,
            _METHOD + (_WALD if i < 2 else ""),
            interval=spreads[i] if i < 2 else None,
            n_runs=n_runs,
            n_cells=n_cells,
            left_out=left_out,
            interval_reason="" if i < 2 else "a variance over few seeds has no normal interval; none is stated",
        )
        for i, (name, unit) in enumerate(_NAMES)
    )


def _problem(y: np.ndarray, scale: np.ndarray, rho: np.ndarray, seed: np.ndarray) -> str:
    n_seeds = len(set(seed))
    if len(y) == 0:
        return "no run has both grokked_step and logit_scale_at_grok"
    if n_seeds < MIN_SEEDS:
        return f"seeds: {n_seeds}, at least {MIN_SEEDS} are needed for a variance between them"
    if len(y) < n_seeds + 4:
        return f"runs: {len(y)} of {n_seeds} seeds, too few to tell seeds from residuals"
    design = np.column_stack([np.ones_like(y), scale, rho])
    scaled = design / np.maximum(np.abs(design).max(axis=0), 1e-300)
    if np.linalg.matrix_rank(scaled, tol=1e-8) < 3 or not min(scale.std(), rho.std()) > 0:
        return "L and rho are constant or collinear over the runs"
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return "L and rho fit every run exactly" if float(residual @ residual) < 1e-18 * len(y) else ""


def _fit(
    y: np.ndarray, scale: np.ndarray, rho: np.ndarray, seed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float] | str:
    """Slopes, their standard errors, variance between seeds and within; or why there is no fit.

    Regressors are standardised for the optimiser; a variance of 0 between seeds is an answer, not an error.
    """
    spread = np.array([scale.std(), rho.std()])
    design = np.column_stack([np.ones_like(y), (scale - scale.mean()) / spread[0], (rho - rho.mean()) / spread[1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # boundary and step-size notes; convergence is asked of the result
        fits = []
        for method in ("bfgs", "powell"):
            # Each may step to a variance at which nothing can be solved, where another finds the maximum.
            with contextlib.suppress(np.linalg.LinAlgError, ValueError):
                fits.append(MixedLM(y - y.mean(), design, seed).fit(reml=True, method=method, maxiter=500))
        best = max((f for f in fits if f.converged and np.isfinite(f.llf)), key=lambda f: f.llf, default=None)
        if best is None:
            return "the mixed model did not converge"
        errors = np.asarray(best.bse_fe, dtype=np.float64)[1:]
        slopes = np.asarray(best.fe_params, dtype=np.float64)[1:]
    if not np.isfinite(errors).all():
        return "the mixed model has no standard errors: its variance between seeds is at the edge"
    return slopes / spread, errors / spread, float(np.asarray(best.cov_re)[0, 0]), float(best.scale)
