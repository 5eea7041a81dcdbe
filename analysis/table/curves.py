"""Accuracy over training of each cell: the median over seeds and the range, on one step axis.

Runs of a cell end at different steps, since a run stops when it has grokked. A median over those still running would be
a median over the slow; so a run that ended keeps its last reading, and the axis ends where the cell's last run ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grok_sweeps.analysis.table.cells import Cell
from grok_sweeps.analysis.table.tables import READ

MAX_POINTS = 240
"""Steps kept for a curve, evenly spaced in log step: a figure shows no more."""


@dataclass(frozen=True, eq=False)
class Band:
    """Median, minimum and maximum over seeds, each [steps]; NaN before the first reading."""

    median: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellCurve:
    """Train and test accuracy of one cell over `step` [steps]; `n_runs` are the runs with readings."""

    cell: Cell
    step: NDArray[np.float64]
    train: Band
    test: Band
    n_runs: int


def cell_curves(cells: Sequence[Cell], curves: pd.DataFrame) -> tuple[CellCurve, ...]:
    """Curves of the cells that have readings (clean curves; failed runs are left out)."""
    owner = {run.run_id: i for i, cell in enumerate(cells) if not cell.superseded for run in cell.runs}
    curves = curves[curves[list(READ)].notna().any(axis=1)]
    index = curves["run_id"].map(owner)
    return tuple(
        _cell_curve(cells[int(i)], readings)
        for i, readings in curves[index.notna().to_numpy()].groupby(index.dropna().astype(int), sort=True)
    )


def _cell_curve(cell: Cell, readings: pd.DataFrame) -> CellCurve:
    steps = np.unique(readings["step"].to_numpy())
    wanted = np.geomspace(steps[0], steps[-1], MAX_POINTS)
    steps = steps[np.unique(np.searchsorted(steps, wanted).clip(0, len(steps) - 1))] if len(steps) > 2 else steps
    train, test = (_band(readings, name, steps) for name in READ)
    return CellCurve(cell, steps, train, test, readings["run_id"].nunique())


def _band(readings: pd.DataFrame, name: str, steps: NDArray[np.float64]) -> Band:
    known = readings.dropna(subset=[name])
    by_run = known.pivot(index="step", columns="run_id", values=name).sort_index().ffill()
    at = by_run.reindex(steps, method="ffill") if len(by_run) else by_run.reindex(steps)
    return Band(*(v.to_numpy(dtype=np.float64) for v in (at.median(axis=1), at.min(axis=1), at.max(axis=1))))
