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
from grok_sweeps.analysis.released import read_released
from grok_sweeps.analysis.table.cells import Cell, make_cells
from grok_sweeps.analysis.table.families import split
from grok_sweeps.analysis.table.logged import with_logged_readings
from grok_sweeps.analysis.table.tables import clean

HERE = Path(__file__).parents[3] / "shared" / "reference"
RUNS, CURVES = HERE / "p59_runs.csv", HERE / "p59_seed_mean_curves.csv"


def tables(experiment: str, loss: str = "ce") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs and curves of one experiment."""
    runs = read_released([RUNS])
    runs = runs[(runs.sweep == experiment) & (runs.loss == loss)].reset_index(drop=True).assign(sweep="theirs")
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
