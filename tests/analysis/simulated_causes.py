"""Runs of known law for mediators and survival models: cells and the clean rows that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from grok_sweeps.analysis.table.cells import RIVALS, Cell
from tests.analysis.simulated import N_SEEDS, cell

HORIZON = 4500
"""Steps at which the runs of `censored` end."""
RHOS, TAUS = (1.0, 1.05, 1.1, 1.15), (1.0, 1.3, 1.7)
POWERS = dict(zip(RIVALS, (-0.6, 0.3, -0.4, 0.8), strict=True))
"""How each rival goes with L."""
SPREADS = dict(zip(RIVALS, (0.2, 0.15, 0.2, 0.1), strict=True))


def with_rivals(
    rng: np.random.Generator, n_seeds: int = N_SEEDS, *, apart: float = 0.0
) -> tuple[tuple[Cell, ...], pd.DataFrame]:
    """ln T = 1 + 2.5 ln L + 0.5 ln(gradient norm) + seed + noise; the other rivals follow L and do nothing.

    All of them stay as they are at grokking, so that both conventions read the same. `apart` is the spread of what the
    rivals of a cell have of their own in all data sets; without it they are collinear over the cells of many seeds.
    """
    own = rng.normal(0, 0.08, n_seeds)
    of_cells = np.random.default_rng(1)
    cells, parts = [], []
    for rho in RHOS:
        for tau in TAUS:
            off = dict(zip(RIVALS, of_cells.normal(0, apart, len(RIVALS)), strict=True))
            scale = np.log(24.0 * rho**2.5 / tau**0.6) + rng.normal(0, 0.05, n_seeds)
            rivals = {n: POWERS[n] * scale + off[n] + rng.normal(0, SPREADS[n], n_seeds) for n in RIVALS}
            steps = np.exp(1 + 2.5 * scale + 0.5 * rivals["grad_norm"] + own + rng.normal(0, 0.08, n_seeds))
            made = cell(rho, tau, steps, np.exp(scale))
            cells.append(at_logged_step(made, {n: np.exp(v) for n, v in rivals.items()}))
            ids = [run.run_id for run in made.runs]
            parts.append(pd.DataFrame({"run_id": ids, **{f"{n}_at_grok": np.exp(v) for n, v in rivals.items()}}))
    return tuple(cells), pd.concat(parts, ignore_index=True)


def at_logged_step(made: Cell, rivals: Mapping[str, np.ndarray]) -> Cell:
    """The cell whose runs read their L and the rivals, each [S], at the logged step."""
    found = [{name: float(values[i]) for name, values in rivals.items()} for i in range(len(made.runs))]
    pairs = zip(made.runs, found, strict=True)
    return replace(made, runs=tuple(replace(r, logged_scale=r.logit_scale, logged_rivals=own) for r, own in pairs))


def censored(
    rng: np.random.Generator, *, weibull: bool, between: float = 0.0, n_seeds: int = N_SEEDS
) -> tuple[tuple[Cell, ...], pd.DataFrame]:
    """ln T = 8 + 6 (rho − 1) + seed + 0.3 noise at four doses, read every 25 steps; 4,500 steps, then censored."""
    own = rng.normal(0, between, n_seeds)
    cells, parts = [], []
    for rho in RHOS:
        for tau in TAUS:
            noise = np.log(rng.exponential(size=n_seeds)) if weibull else rng.normal(size=n_seeds)
            steps = np.ceil(np.exp(8 + 6 * (rho - 1) + own + 0.3 * noise) / 25) * 25
            made = cell(rho, tau, steps, np.full(n_seeds, 24.0))
            runs = tuple(r if r.grokked_step <= HORIZON else replace(r, grokked_step=np.inf) for r in made.runs)
            n_grokked = int((steps <= HORIZON).sum())
            cells.append(replace(made, runs=runs, n_grokked=n_grokked, n_censored=n_seeds - n_grokked))
            ids = [run.run_id for run in runs]
            parts.append(pd.DataFrame({"run_id": ids, "eval_every": 25, "steps_run": np.minimum(steps, HORIZON)}))
    return tuple(cells), pd.concat(parts, ignore_index=True).assign(max_steps=HORIZON)
