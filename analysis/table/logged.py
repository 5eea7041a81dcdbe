"""Readings as arXiv:2606.18465 takes them: means over seeds at the logged step nearest to the cell's median.

The paper logged seed means every 200 steps (every 25 under squared error), so it has no L of a run at its own grokking
step. Two things differ from the reading a run at grokking: the step is another one for all seeds but the median, and a
seed that grokked sooner is read later than it grokked. A run that stopped before that step has its last reading. What
is set against L is read with it, at the same step of each run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grok_sweeps.analysis.table.cells import RIVALS, T_INTERVAL, Cell, RunPoint, mean_over_seeds
from grok_sweeps.analysis.table.ranks import order_statistic

LOGGED_EVERY = {"mse": 25}
LOGGED_EVERY_ELSE = 200
"""Steps between two logged seed means in the paper, by loss."""
_SCALE = "logit_scale"
_METHOD = (
    "Mean over seeds of the logit scale L at the step logged nearest to the cell's median grokked_step (every 200, "
    f"every 25 under mse), as published. {T_INTERVAL}"
)


@dataclass(frozen=True, eq=False)
class _Curve:
    """One run's readings in order of `step` [n], each [n]; L is known at all of them."""

    step: NDArray[np.float64]
    readings: Mapping[str, NDArray[np.float64]]


def with_logged_readings(cells: Sequence[Cell], curves: pd.DataFrame, loss: str | None) -> tuple[Cell, ...]:
    """The cells with `logged_step` and what their runs read there, where the clean curves have readings of L.

    Of two logged steps equally near the earlier one is taken, as in the paper. Times are read from the runs' curves at
    multiples of 25 (loss mse) or 200 steps; where a cell has none of those, at any step it has.
    """
    names = [name for name in (_SCALE, *RIVALS) if name in curves.columns]
    if _SCALE not in names:
        return tuple(cells)
    known = curves.dropna(subset=[_SCALE]).sort_values("step", kind="stable")
    step = known["step"].to_numpy(dtype=np.float64)
    columns = {name: known[name].to_numpy(dtype=np.float64) for name in names}
    places = known.groupby("run_id", sort=False).indices
    by_run = {
        str(run_id): _Curve(step[at], {name: column[at] for name, column in columns.items()})
        for run_id, at in places.items()
    }
    every = LOGGED_EVERY.get(loss or "", LOGGED_EVERY_ELSE)
    return tuple(_read(cell, by_run, every) for cell in cells)


def _read(cell: Cell, by_run: Mapping[str, _Curve], every: int) -> Cell:
    curves = [by_run[r.run_id] for r in cell.runs if r.run_id in by_run]
    at = _step(cell, curves, every)
    if at is None:
        return cell
    runs = tuple(_read_run(r, by_run.get(r.run_id), at) for r in cell.runs)
    known = [r.logged_scale for r in runs if r.logged_scale is not None]
    return replace(
        cell,
        logged_step=at,
        logged_logit_scale=mean_over_seeds("mean_logit_scale_logged", _METHOD, known) if known else None,
        runs=runs,
    )


def _step(cell: Cell, curves: Sequence[_Curve], every: int) -> float | None:
    if not curves:
        return None
    middle = order_statistic([r.grokked_step for r in cell.runs if math.isfinite(r.grokked_step)], 0.5)
    if middle is None:
        return None
    logged = np.unique(np.concatenate([c.step for c in curves]))
    regular = logged[logged % every == 0]
    logged = regular if len(regular) else logged
    return float(logged[np.argmin(np.abs(logged - middle))])


def _read_run(run: RunPoint, curve: _Curve | None, at: float) -> RunPoint:
    """The run with its last readings up to the step."""
    place = -1 if curve is None else int(np.searchsorted(curve.step, at, side="right")) - 1
    if curve is None or place < 0:
        return run
    found = {name: float(values[place]) for name, values in curve.readings.items() if np.isfinite(values[place])}
    scale = found.pop(_SCALE)
    return replace(run, logged_scale=scale, logged_rivals=found)
