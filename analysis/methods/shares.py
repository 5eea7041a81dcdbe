"""R² shared out among regressors: Shapley value of every regressor in the game "R² of a subset" (LMG).

Lindeman, Merenda and Gold (1980); Grömping (2006, J. Stat. Softw. 17:1). The average over all orders of entry of what a
regressor adds. All 2^k subsets are fitted from one covariance matrix, in thousands of resamples at once.

Shapes: k regressors, the covariances [..., k + 1, k + 1] have the outcome last.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import factorial

import numpy as np

from grok_sweeps.analysis.methods.bootstrap import Floats
from grok_sweeps.analysis.methods.regression import COLLINEAR

MAX_REGRESSORS = 6


def r_squared_of_subsets(cov: Floats) -> dict[tuple[int, ...], Floats]:
    """R² of the last column on every subset of the k others with an intercept, each as `r_squared` gives it.

    Regressors are taken out of the covariances one at a time (Schur complements), so a subset costs one update of what
    the subset without its last regressor left.
    """
    k = cov.shape[-1] - 1
    if k > MAX_REGRESSORS:
        raise ValueError(f"{k} regressors: 2^k subsets are fitted, so at most {MAX_REGRESSORS} are allowed")
    rest = np.ascontiguousarray(np.moveaxis(cov, (-2, -1), (0, 1)))
    spread, total = [rest[j, j] for j in range(k)], rest[k, k]
    found: dict[tuple[int, ...], Floats] = {(): np.asarray(np.where(total > 0, 0.0, np.nan))}

    def enter(subset: tuple[int, ...], left: Floats, determinant: Floats) -> None:
        """Add each regressor behind the last of `subset`; `left` are the covariances of those and y given it."""
        first = subset[-1] + 1 if subset else 0
        for j in range(first, k):
            at = j - first
            pivot = left[at, at]
            now = determinant * np.where(spread[j] > 0, pivot / np.where(spread[j] > 0, spread[j], 1.0), np.nan)
            usable = now > COLLINEAR
            column = left[at + 1 :, at]
            after = left[at + 1 :, at + 1 :] - column[:, None] * (column / np.where(usable, pivot, np.nan))[None]
            unexplained = after[-1, -1] / np.where(total > 0, total, np.nan)
            found[*subset, j] = np.asarray(1 - unexplained)
            enter((*subset, j), after, np.where(usable, now, np.nan))

    enter((), rest, np.ones(cov.shape[:-2]))
    return found


def lmg(of: Mapping[tuple[int, ...], Floats]) -> Floats:
    """Part of R² of each regressor, [..., k], from R² of every subset: they sum to R² of all; NaN where one is NaN."""
    k = max(map(len, of))
    parts = np.zeros((*of[()].shape, k))
    for subset, value in of.items():
        for j in range(k):
            if j not in subset:
                weight = factorial(len(subset)) * factorial(k - 1 - len(subset)) / factorial(k)
                parts[..., j] += weight * (of[tuple(sorted((*subset, j)))] - value)
    return parts
