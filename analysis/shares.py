"""R² shared out among regressors: Shapley value of every regressor in the game "R² of a subset" (LMG).

Lindeman, Merenda and Gold (1980); Grömping (2006, J. Stat. Softw. 17:1). The average over all orders of entry of what a
regressor adds. All 2^k subsets are fitted from one covariance matrix, so thousands of resamples cost 2^k small solves.

Shapes: k regressors, the covariances [..., k + 1, k + 1] have the outcome last.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np

from analysis.bootstrap import Floats
from analysis.products import r_squared

MAX_REGRESSORS = 6


def lmg(cov: Floats) -> Floats:
    """Part of R² of each regressor, [..., k]: they sum to R² of all; NaN where a subset is degenerate."""
    k = cov.shape[-1] - 1
    if k > MAX_REGRESSORS:
        raise ValueError(f"{k} regressors: 2^k subsets are fitted, so at most {MAX_REGRESSORS} are allowed")
    of = {s: r_squared(cov, k, s) for size in range(k + 1) for s in combinations(range(k), size)}
    parts = np.zeros((*cov.shape[:-2], k))
    for subset, value in of.items():
        for j in range(k):
            if j not in subset:
                weight = factorial(len(subset)) * factorial(k - 1 - len(subset)) / factorial(k)
                parts[..., j] += weight * (of[tuple(sorted((*subset, j)))] - value)
    return parts
