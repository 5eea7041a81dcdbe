"""L as arXiv:2606.18465 reads it: the mean over seeds at the logged step nearest to the cell's median grokking step.

The paper logged seed means every 200 steps (every 25 under squared error), so it has no L of a run at its own grokking
step. Two things differ from the reading a run at grokking: the step is another one for all seeds but the median, and a
seed that grokked sooner is read later than it grokked. A run that stopped before that step has its last reading.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.table.cells import T_INTERVAL, Cell, mean_over_seeds
from analysis.table.ranks import order_statistic

LOGGED_EVERY = {"mse": 25}
LOGGED_EVERY_ELSE = 200
"""Steps between two logged seed means in the paper, by loss."""
_METHOD = (
    "Mean over seeds of the logit scale L at the step logged nearest to the cell's median grokked_step (every 200, "
    f"every 25 under mse), as published. {T_INTERVAL}"
)


def with_logged_scale(cells: Sequence[Cell], curves: pd.DataFrame, loss: str | None) -> tuple[Cell, ...]:
    """The cells with `logged_step` and their runs' `logged_scale`, where the clean curves have readings of L.

    Of two logged steps equally near the earlier one is taken, as in the paper. Times are read from the runs' curves at
    multiples of 25 (loss mse) or 200 steps; where a cell has none of those, at any step it has.
    """
    known = curves.dropna(subset=["logit_scale"]) if "logit_scale" in curves.columns else curves.iloc[:0]
    if known.empty:
        return tuple(cells)
    every = LOGGED_EVERY.get(loss or "", LOGGED_EVERY_ELSE)
    readings = known.sort_values("step")[["run_id", "step", "logit_scale"]]
    by_run = {str(run_id): table for run_id, table in readings.groupby("run_id", sort=False)}
    return tuple(_read(cell, by_run, every) for cell in cells)


def _read(cell: Cell, by_run: dict[str, pd.DataFrame], every: int) -> Cell:
    readings = {r.run_id: by_run[r.run_id] for r in cell.runs if r.run_id in by_run}
    at = _step(cell, readings, every)
    if at is None:
        return cell
    scales = {run_id: _last(table, at) for run_id, table in readings.items()}
    known = [s for s in scales.values() if s is not None]
    return replace(
        cell,
        logged_step=at,
        logged_logit_scale=mean_over_seeds("mean_logit_scale_logged", _METHOD, known) if known else None,
        runs=tuple(replace(r, logged_scale=scales.get(r.run_id)) for r in cell.runs),
    )


def _step(cell: Cell, readings: dict[str, pd.DataFrame], every: int) -> float | None:
    if not readings:
        return None
    middle = order_statistic([r.grokked_step for r in cell.runs if math.isfinite(r.grokked_step)], 0.5)
    if middle is None:
        return None
    logged = np.unique(np.concatenate([t["step"].to_numpy(dtype=np.float64) for t in readings.values()]))
    regular = logged[logged % every == 0]
    logged = regular if len(regular) else logged
    return float(logged[np.argmin(np.abs(logged - middle))])


def _last(table: pd.DataFrame, at: float) -> float | None:
    place = int(np.searchsorted(table["step"].to_numpy(), at, side="right")) - 1
    return None if place < 0 else float(table["logit_scale"].iloc[place])
