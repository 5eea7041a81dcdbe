"""Least squares in thousands of resamples at once: every fit here is read from a covariance matrix of the columns.

A resample of seeds only reweights the sums of products within each seed, so one fit costs one small solve, however many
runs there are. Where regressors are collinear or constant the result is NaN, never an error.

Shapes: n rows, k columns, S seeds, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, counts
from grok_sweeps.analysis.methods.regression import COLLINEAR


def covariance(columns: Floats) -> Floats:
    """Covariance (divided by n) of columns [..., n, k]: [..., k, k]."""
    centred = columns - columns.mean(axis=-2, keepdims=True)
    return np.asarray(np.swapaxes(centred, -1, -2) @ centred / columns.shape[-2])


def resampled_covariance(columns: Floats, seed_of: Ints, lists: Ints) -> Floats:
    """Covariance [B, k, k] of columns [n, k] over the drawn `lists` [B, S]; row i belongs to seed `seed_of[i]`."""
    n_seeds = lists.shape[1]
    rows = np.column_stack([np.ones(len(columns)), columns - columns.mean(axis=0)])
    products = np.zeros((n_seeds, rows.shape[1], rows.shape[1]))
    np.add.at(products, seed_of, rows[:, :, None] * rows[:, None, :])
    sums = np.tensordot(counts(lists, n_seeds), products, axes=1)
    count = np.where(sums[:, :1, :1] > 0, sums[:, :1, :1], np.nan)
    means = sums[:, 0, 1:] / count[:, 0]
    return np.asarray(sums[:, 1:, 1:] / count - means[:, :, None] * means[:, None, :])


def slopes(cov: Floats, y: int, on: Sequence[int]) -> Floats:
    """Slopes of column `y` on the columns `on` with an intercept, [..., len(on)]; NaN where `on` is degenerate."""
    on = list(on)
    within, against = cov[..., on, :][..., :, on], cov[..., on, y]
    spread = np.sqrt(np.maximum(np.diagonal(within, axis1=-2, axis2=-1), 0.0))
    usable = np.all(spread > 0, axis=-1)
    scale = np.where(usable[..., None], spread, 1.0)
    correlation = within / (scale[..., :, None] * scale[..., None, :])
    usable &= np.all(np.isfinite(correlation), axis=(-2, -1))
    correlation = np.where(usable[..., None, None], correlation, np.eye(len(on)))
    usable &= np.linalg.det(correlation) > COLLINEAR
    correlation = np.where(usable[..., None, None], correlation, np.eye(len(on)))
    solved = np.linalg.solve(correlation, (against / scale)[..., None])[..., 0] / scale
    return np.asarray(np.where(usable[..., None], solved, np.nan))


def r_squared(cov: Floats, y: int, on: Sequence[int]) -> Floats:
    """R² of column `y` on the columns `on` with an intercept, [...]; 0 without columns, NaN where degenerate."""
    total = cov[..., y, y]
    if not on:
        return np.where(total > 0, 0.0, np.nan)
    explained = (slopes(cov, y, on) * cov[..., list(on), y]).sum(axis=-1)
    return np.asarray(np.where(total > 0, explained / np.where(total > 0, total, 1.0), np.nan))


def residual_variance(cov: Floats, y: int, on: Sequence[int]) -> Floats:
    """Variance (divided by n) of column `y` that the columns `on` leave, [...]."""
    return np.asarray(np.maximum(cov[..., y, y] * (1 - r_squared(cov, y, on)), 0.0))
