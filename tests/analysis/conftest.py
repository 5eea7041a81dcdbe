"""Builders of results tables: every column of the schema, values that a test sets, no training."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from grok_sweeps.analysis import analyze
from grok_sweeps.analysis.table.cells import Cell
from grok_sweeps.schema import CURVE_COLUMNS, READING_NAMES, RUN_COLUMNS

Row = dict[str, Any]

HERE = Path(__file__).parent
DEFAULTS: Row = {
    "sweep": "made",
    "arch": "mlp",
    "task": "add",
    "p": 59,
    "train_fraction": 0.4,
    "d_model": 128,
    "hidden": 256,
    "loss": "ce",
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 1.0,
    "arm": "clamp",
    "rho": 1.0,
    "tau": 1.0,
    "clamp_from_step": 500,
    "seeding": "run",
    "seed": 0,
    "dtype": "float32",
    "max_steps": 60_000,
    "eval_every": 25,
    "outcome": "grokked",
    "memorized_step": 175,
    "attempt": "a1",
}


def _make_runs(rows: Iterable[Row]) -> pd.DataFrame:
    """A `runs` table from the values that matter; ids and delay follow from the rest."""
    made = []
    for values in rows:
        row = dict.fromkeys(c.name for c in RUN_COLUMNS) | DEFAULTS | values
        cell = "-".join(str(row[c]) for c in ("arch", "p", "loss", "lr", "arm", "rho", "tau", "max_steps"))
        row["cell_id"] = row["cell_id"] or cell
        row["run_id"] = row["run_id"] or f"{cell}-{row['seed']}"
        if row["grokked_step"] is not None and row["memorized_step"] is not None:
            row["delay"] = row["grokked_step"] - row["memorized_step"]
        made.append(row)
    return pd.DataFrame(made, columns=[c.name for c in RUN_COLUMNS])


def _no_curves() -> pd.DataFrame:
    """An empty `curves` table."""
    return pd.DataFrame({c.name: pd.Series(dtype=object) for c in CURVE_COLUMNS})


def _make_curves(runs: pd.DataFrame, every: int = 25) -> pd.DataFrame:
    """Logistic accuracies that cross 0.99 and 0.90 at each run's own steps, ending where the run ended."""
    parts = []
    for run in runs.itertuples():
        end = run.max_steps if pd.isna(run.grokked_step) else run.grokked_step
        step = np.concatenate([[1], np.arange(every, end + 1, every)])
        train = 1 / (1 + np.exp(-(step - 0.75 * run.memorized_step) / (0.05 * run.memorized_step)))
        test = 0.92 / (1 + np.exp(-np.clip((step - 0.93 * end) / (0.02 * end), -60, 60)))
        frame = pd.DataFrame(dict.fromkeys(READING_NAMES, 0.0), index=range(len(step)))
        frame = frame.assign(sweep=run.sweep, run_id=run.run_id, attempt=run.attempt, step=step)
        parts.append(frame.assign(train_accuracy=train, test_accuracy=test))
    return pd.concat(parts, ignore_index=True)[[c.name for c in CURVE_COLUMNS]]


@pytest.fixture(scope="session")
def make_runs() -> Callable[[Iterable[Row]], pd.DataFrame]:
    """Builder of a `runs` table."""
    return _make_runs


@pytest.fixture(scope="session")
def make_curves() -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Builder of a `curves` table for runs."""
    return _make_curves


@pytest.fixture
def no_curves() -> pd.DataFrame:
    """An empty `curves` table."""
    return _no_curves()


@pytest.fixture(scope="session")
def cells_of() -> Callable[[Iterable[Row]], tuple[Cell, ...]]:
    """Cells of the single family of these rows."""

    def cells(rows: Iterable[Row]) -> tuple[Cell, ...]:
        return analyze(_make_runs(rows), _no_curves(), sweep="made", resamples=10).families[0].cells

    return cells


@pytest.fixture(scope="session")
def grid() -> Callable[..., list[Row]]:
    """Rows of a rho x tau grid whose T follows L only: ln T = 5 + 0.12 L, with noise by seed."""

    def rows(
        rhos: Iterable[float] = (1.0, 1.05, 1.1, 1.15),
        taus: Iterable[float] = (1.0, 1.3, 1.7),
        seeds: int = 6,
        noise: float = 0.05,
        seed: int = 0,
        **values: Any,
    ) -> list[Row]:
        rng = np.random.default_rng(seed)
        made: list[Row] = []
        for rho in rhos:
            for tau in taus:
                level = 24.0 * rho**2.5 / tau**0.6
                for s in range(seeds):
                    scale = level * np.exp(rng.normal(0, noise / 3))
                    step = int(np.exp(5 + 0.12 * level + rng.normal(0, noise)) // 25 * 25)
                    made.append(
                        {
                            "rho": rho,
                            "tau": tau,
                            "seed": s,
                            "grokked_step": step,
                            "logit_scale_at_grok": scale,
                            **values,
                        }
                    )
        return made

    return rows


@pytest.fixture(scope="session")
def published() -> Callable[[str, int], list[Row]]:
    """One row a cell of arXiv:2606.18465, its printed median T and L as one run; by table and modulus."""

    def rows(table: str, p: int) -> list[Row]:
        with (HERE / "published_cells.csv").open() as file:
            return [
                {
                    "p": p,
                    "rho": float(r["rho"]),
                    "tau": float(r["tau"]),
                    "grokked_step": int(r["median_grokked_step"]),
                    "logit_scale_at_grok": float(r["logit_scale_at_grok"]),
                }
                for r in csv.DictReader(file)
                if r["table"] == table and int(r["p"]) == p
            ]

    return rows
