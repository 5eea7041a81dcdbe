"""Cells of known law, made without a table: for simulations of hundreds of data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from grok_sweeps.analysis.estimate import LEVEL, Estimate
from grok_sweeps.analysis.table.cells import Cell, RunPoint, Spread

W_C = 54.0
N_SEEDS = 12


def cell(rho: float, tau: float, steps: np.ndarray, scales: np.ndarray) -> Cell:
    """A clamp cell whose seeds 0, 1, … grokked at `steps` with L `scales`, both [S]."""
    runs = tuple(
        RunPoint(f"{rho}-{tau}-{s}", s, float(t), 175.0, float(scale))
        for s, (t, scale) in enumerate(zip(steps, scales, strict=True))
    )
    n = len(runs)

    def known(name: str, value: float) -> Estimate:
        return Estimate(name, value, "1", "made", n_runs=n, n_cells=1)

    return Cell(
        f"{rho}-{tau}",
        "clamp",
        None,
        rho,
        tau,
        60_000.0,
        n,
        n,
        0,
        0,
        0,
        known("median_grokked_step", float(np.median(steps))),
        known("median_memorized_step", 175.0),
        known("median_delay", float(np.median(steps)) - 175.0),
        known("mean_logit_scale", float(np.mean(scales))),
        Spread(None, None, None, None),
        runs,
        w_c=W_C,
    )


def grid(
    rng: np.random.Generator,
    *,
    rhos: Sequence[float] = (1.0, 1.05, 1.1, 1.15),
    taus: Sequence[float] = (1.0, 1.3, 1.7),
    direct: float = 0.0,
    between: float = 0.06,
    within: float = 0.06,
) -> tuple[Cell, ...]:
    """ln T = 5 + 0.12 L + direct (rho − 1) + seed + noise, L set by rho and tau with noise of its own."""
    own = rng.normal(0, between, N_SEEDS)
    made = []
    for rho in rhos:
        for tau in taus:
            scales = 24.0 * rho**2.5 / tau**0.6 * np.exp(rng.normal(0, 0.03, N_SEEDS))
            steps = np.exp(5 + 0.12 * scales + direct * (rho - 1) + own + rng.normal(0, within, N_SEEDS))
            made.append(cell(rho, tau, steps, scales))
    return tuple(made)


def coverage(n: int, interval: Callable[[np.random.Generator], tuple[float, float] | None], truth: float) -> float:
    """Share of `n` data sets whose interval holds the truth."""
    hits = 0
    for i in range(n):
        ends = interval(np.random.default_rng(i))
        hits += ends is not None and ends[0] <= truth <= ends[1]
    return hits / n


def slack(n: int, rate: float = LEVEL) -> float:
    """Three standard errors of a rate over n data sets."""
    return 3 * float(np.sqrt(rate * (1 - rate) / n))
