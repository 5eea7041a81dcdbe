"""Rows of tables that support mediation, mediators, matched pairs and the comparisons between families."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from grok_sweeps.analysis.table.cells import RIVALS

Row = dict[str, Any]
SEEDS = 8
W_C = 54.0


def cell(rng: np.random.Generator, step: float, scale: float, **values: Any) -> list[Row]:
    """One cell whose seeds grok near `step` with L near `scale`; `values` hold for all of its runs."""
    named = "-".join(f"{name}{value}" for name, value in values.items())
    made = []
    for seed in range(SEEDS):
        own = scale * np.exp(rng.normal(0, 0.02))
        reached = int(step * np.exp(0.1 * (own - scale) + rng.normal(0, 0.05))) // 25 * 25
        rivals = {f"{name}_at_grok": own**0.5 * np.exp(rng.normal(0, 0.1 * (i + 1))) for i, name in enumerate(RIVALS)}
        made.append(
            {
                "seed": seed,
                "cell_id": named,
                "run_id": f"{named}-{seed}",
                "grokked_step": reached,
                "logit_scale_at_grok": own,
                "w_c": W_C,
                "softmax_collapse_max": 0.0,
                **rivals,
                **values,
            }
        )
    return made


def censored(rows: Iterable[Row], seeds: Iterable[int] = range(SEEDS)) -> list[Row]:
    """The rows, of which the runs of these seeds spent their budget."""
    chosen = set(seeds)
    late = {"outcome": "censored", "grokked_step": None, "logit_scale_at_grok": None}
    return [{**r, **late} if r["seed"] in chosen else r for r in rows]


def grid(rng: np.random.Generator) -> list[Row]:
    """Clamp cells under ce and some under mse: T follows L and a little the dose itself."""
    made = []
    for rho in (1.0, 1.05, 1.1, 1.15):
        for tau in (1.0, 1.3, 1.7):
            scale = 24.0 * rho**2.5 / tau**0.6
            made += cell(rng, float(np.exp(5.5 + 0.1 * scale + 2.5 * (rho - 1))), scale, rho=rho, tau=tau)
    for rho, step in ((1.0, 1200), (1.15, 2000)):
        made += cell(rng, step, 12 + rho, rho=rho, loss="mse")
    return made


def forks(rng: np.random.Generator) -> list[Row]:
    """Arms from one state, and the free runs beside them."""
    made = cell(rng, 5000, 20.0, arm="free", rho=None)
    for rho, step in ((1.15, 25_000), (1.0, 8000), (1 / 1.15, 2300)):
        made += cell(rng, step, 20.0, arm="fork", rho=rho, fork_step=800)
    return made


def precisions(rng: np.random.Generator) -> list[Row]:
    """float64 beside float32: equal at the lower doses, neither collapse nor grokking at the highest."""
    made = cell(rng, 21_000, 33.0, rho=1.25)
    made = [{**r, "softmax_collapse_max": 0.27 + 0.01 * r["seed"]} for r in made]
    made += cell(rng, 2700, 24.0, rho=1.0, dtype="float64")
    made += censored(cell(rng, 11_500, 34.0, rho=1.15, dtype="float64"), (7,))
    made += censored(cell(rng, 60_000, 40.0, rho=1.25, dtype="float64"))
    return made


def curves(rows: Iterable[Row]) -> pd.DataFrame:
    """One reading of each run that grokked, of L and its rivals as they are at grokking."""
    read = [
        {name: r.get(f"{name}_at_grok") for name in ("logit_scale", *RIVALS)} | {"run_id": r["run_id"], "step": 200}
        for r in rows
        if r["grokked_step"] is not None
    ]
    return pd.DataFrame(read).assign(sweep="made", attempt="a1", train_accuracy=None, test_accuracy=None)


def full() -> list[Row]:
    """All of it."""
    rng = np.random.default_rng(4)
    return [*grid(rng), *forks(rng), *precisions(rng)]


def gaps() -> list[Row]:
    """The same with holes: two rivals, a fork arm and the mse control are not there, and some cells hardly grokked."""
    kept = []
    for row in full():
        is_lowered = row.get("fork_step") and row["rho"] < 1
        if is_lowered or (row.get("loss") == "mse" and row["rho"] == 1.0):
            continue
        kept.append({**row, "update_norm_at_grok": None, "turn_angle_at_grok": None})
    late = {"rho1.15-tau1.7": (0, 1)}
    return [
        r
        for cell_id in dict.fromkeys(r["cell_id"] for r in kept)
        for r in censored(
            (r for r in kept if r["cell_id"] == cell_id),
            late.get(cell_id, (0, 1, 2) if cell_id.startswith("armfork-rho1.15") else ()),
        )
    ]
