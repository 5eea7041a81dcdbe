"""The paper's released p = 59 tables as tables of our schema: no part of the analysis, which knows only its own schema.

They hold steps per seed, and the seed mean of each reading over time. So every run of a cell is given the cell's seed
mean as its curve, and no run has L at its own grokking step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from grok_sweeps.analysis.methods.bootstrap import SeedTable, seed_table
from grok_sweeps.analysis.table.cells import Cell, make_cells
from grok_sweeps.analysis.table.families import split
from grok_sweeps.analysis.table.logged import with_logged_readings
from grok_sweeps.analysis.table.tables import clean

HERE = Path(__file__).parents[3] / "shared" / "reference"
RUNS, CURVES = HERE / "p59_runs.csv", HERE / "p59_seed_mean_curves.csv"

_ARMS = {"none": "free", "alloc": "allocation", "clamp_same": "fork", "clamp_raised": "fork", "clamp_lowered": "fork"}
_FORK_DOSES = {"clamp_same": 1.0, "clamp_raised": 1.15, "clamp_lowered": 1 / 1.15}
_ARCHS = {"tfnoln": "transformer_no_layernorm"}


def tables(experiment: str, loss: str = "ce") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs and curves of one experiment."""
    theirs = pd.read_csv(RUNS)
    theirs = theirs[(theirs.experiment == experiment) & (theirs.loss == loss)]
    # The mse baseline is listed a second time, as a control.
    theirs = theirs[~((theirs.loss == "mse") & theirs.source.str.endswith("ctrl.npz"))].reset_index(drop=True)
    arm = theirs.arm.map(_ARMS).fillna(theirs.arm)
    fork = arm == "fork"
    reached = theirs.grokked_step > 0
    budget = theirs.max_steps.fillna(60_000)
    runs = pd.DataFrame(
        {
            "sweep": "theirs",
            "run_id": theirs.source + "#" + theirs.seed.astype(str),
            "cell_id": theirs.source,
            "p": theirs.p,
            "arch": theirs.arch.map(_ARCHS).fillna(theirs.arch),
            "loss": theirs.loss,
            "arm": arm,
            "rho": theirs.arm.map(_FORK_DOSES).fillna(theirs.rho).where(arm != "free"),
            "tau": theirs.tau,
            "gamma": theirs.gamma.where(arm == "allocation"),
            "w_c": theirs.w_c.where(~arm.isin(["free", "fork"])),
            "clamp_from_step": theirs.clamp_from_step.where(~arm.isin(["free", "fork"])),
            "fork_step": theirs.fork_step.where(fork),
            "seed": theirs.seed,
            "max_steps": budget,
            "outcome": np.where(reached, "grokked", "censored"),
            "memorized_step": theirs.memorized_step.where(theirs.memorized_step > 0),
            "grokked_step": theirs.grokked_step.where(reached),
        }
    )
    curves = runs[["sweep", "run_id", "cell_id"]].merge(
        pd.read_csv(CURVES)[["source", "step", "logit_scale"]], left_on="cell_id", right_on="source"
    )
    return runs, curves.assign(attempt=None, train_accuracy=np.nan, test_accuracy=np.nan)


def cells(experiment: str, loss: str = "ce") -> tuple[Cell, ...]:
    """The cells of the one family of an experiment, with L at the logged steps."""
    (family,) = families(experiment, loss)
    return family


@cache
def families(experiment: str, loss: str = "ce") -> list[tuple[Cell, ...]]:
    """The cells of each family of an experiment."""
    cleaned = clean(*tables(experiment, loss), sweeps=["theirs"])
    return [
        with_logged_readings(make_cells(rows, cleaned.missing), cleaned.curves, loss) for _, rows in split(cleaned.runs)
    ]


def aligned(cells: Sequence[Cell]) -> SeedTable:
    """The cells' runs by seed."""
    return seed_table(cells)


def doses(cells: Sequence[Cell]) -> np.ndarray:
    """The cells' rho."""
    return np.array([c.rho for c in cells], dtype=np.float64)


def everything() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs and curves of all experiments, each as a sweep of its own name."""
    kinds = pd.read_csv(RUNS)[["experiment", "loss"]].drop_duplicates().itertuples(index=False)
    parts = [tuple(t.assign(sweep=kind.experiment) for t in tables(kind.experiment, kind.loss)) for kind in kinds]
    runs, curves = (pd.concat(tables_, ignore_index=True) for tables_ in zip(*parts, strict=True))
    return runs, curves
