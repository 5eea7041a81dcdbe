"""A made sweep that every analysis finds something in: 1,600 runs with curves of L, by default of 16 seeds a cell."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

SWEEP = "made"
RHOS = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)
TAUS = (1.0, 1.2, 1.4, 1.7, 2.0)
GAMMAS = (-0.6, -0.3, 0.0, 0.3, 0.6)
BUDGET = 20_000
EVERY = 25
RIVAL_POWERS = {"grad_norm": -0.6, "update_norm": 0.3, "turn_angle": -0.4, "preactivation_rms": 0.8}
"""How each competing reading goes with L."""

Design = dict[str, Any]


def designs() -> list[Design]:
    """The 100 cells: a grid at two moduli, and what each further analysis needs at p = 59."""
    both = [{"arm": "clamp", "rho": rho, "tau": tau, "p": p} for p in (59, 97) for rho in RHOS for tau in TAUS]
    free = [{"arm": "free", "rho": None, "p": p} for p in (59, 97)]
    mse = [
        {"arm": "clamp", "rho": rho, "tau": tau, "loss": "mse", "clamp_from_step": 50}
        for rho, tau in itertools.product((1.0, 1.15), (1.0, 1.7))
    ]
    mse.append({"arm": "free", "rho": None, "loss": "mse"})
    layers = [{"arm": "allocation", "rho": 1.0, "gamma": gamma} for gamma in GAMMAS]
    forks = [{"arm": "fork", "rho": rho, "fork_step": 800} for rho in (1 / 1.15, 1.0, 1.15)]
    double = [{"arm": "clamp", "rho": rho, "dtype": "float64"} for rho in (1.15, 1.2)]
    block = [
        {"arm": "clamp", "rho": rho, "tau": tau, "arch": "transformer_no_layernorm"}
        for rho, tau in ((1.0, 1.0), (1.15, 1.0), (1.15, 1.7))
    ]
    return [*both, *free, *mse, *layers, *forks, *double, *block]


def tables(n_seeds: int = 16, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`runs`, a row a run, and `curves` of every 25 steps. ln T follows L, a little of rho, the seed and noise."""
    rng = np.random.default_rng(seed)
    own = rng.normal(0, 0.08, n_seeds)
    rows, curves = [], []
    for number, design in enumerate(designs()):
        cell = {"arch": "mlp", "p": 59, "loss": "ce", "tau": 1.0, "dtype": "float32", "clamp_from_step": 500} | design
        rho = cell["rho"] or 1.0
        level = 24.0 * rho**2.5 / cell["tau"] ** 0.6 * (1.05 if cell["p"] == 97 else 1.0)
        level *= 1 + 0.05 * cell.get("gamma", 0.0)
        for s in range(n_seeds):
            scale = level * np.exp(rng.normal(0, 0.03))
            step = np.ceil(np.exp(5 + 0.1 * scale + 0.8 * (rho - 1) + own[s] + rng.normal(0, 0.08)) / EVERY) * EVERY
            step += cell.get("fork_step", 0)
            reached = step <= BUDGET
            end = int(min(step, BUDGET))
            run_id = f"{number}-{s}"
            rivals = {f"{n}_at_grok": scale**power * np.exp(rng.normal(0, 0.1)) for n, power in RIVAL_POWERS.items()}
            rows.append(
                {
                    **cell,
                    **(rivals if reached else {}),
                    "sweep": SWEEP,
                    "run_id": run_id,
                    "cell_id": str(number),
                    "attempt": "a1",
                    "seed": s,
                    "control_id": None if cell["arm"] == "free" else f"control {cell['p']}",
                    "w_c": None if cell["arm"] == "free" else 54.0,
                    "max_steps": BUDGET,
                    "eval_every": EVERY,
                    "steps_run": end,
                    "outcome": "grokked" if reached else "censored",
                    "memorized_step": 175 + EVERY * int(rng.integers(0, 3)),
                    "grokked_step": step if reached else None,
                    "logit_scale_at_grok": scale if reached else None,
                    "weight_norm_at_grok": 54.0 * rho if reached else None,
                    "softmax_collapse_max": rng.uniform(0, 0.3),
                }
            )
            steps = np.arange(EVERY, end + 1, EVERY)
            at_end = {name.removesuffix("_at_grok"): value for name, value in rivals.items()}
            curves.append((run_id, steps, {"logit_scale": scale, **at_end}))
    lengths = [len(steps) for _, steps, _ in curves]
    grown = np.concatenate([steps / steps[-1] for _, steps, _ in curves])
    powers = {"logit_scale": 1.0, **RIVAL_POWERS}
    ends = {name: np.repeat([at_end[name] for _, _, at_end in curves], lengths) for name in powers}
    return pd.DataFrame(rows), pd.DataFrame(
        {
            "sweep": SWEEP,
            "run_id": np.repeat([run_id for run_id, _, _ in curves], lengths),
            "attempt": "a1",
            "step": np.concatenate([steps for _, steps, _ in curves]),
            **{name: ends[name] * grown ** (0.3 * power) for name, power in powers.items()},
            "train_accuracy": np.minimum(1.0, 20 * grown),
            "test_accuracy": 0.9 * grown**4,
        }
    )
