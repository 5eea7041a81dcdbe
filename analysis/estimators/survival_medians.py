"""Medians of cells with censored runs: a lognormal law lends a cell the spread of all, so its own few runs suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.estimators.survival_sample import TIMES, CensoredSample
from grok_sweeps.analysis.methods.accelerated import LOGNORMAL, Times, fit
from grok_sweeps.analysis.table.cells import Cell


@dataclass(frozen=True, slots=True)
class CellMedian:
    """Median of one cell that holds a run that did not grok."""

    cell_id: str
    label: str
    n_censored: int
    median: Estimate


def cell_medians(used: Sequence[Cell], sample: CensoredSample) -> tuple[CellMedian, ...]:
    """Lognormal model with a location for every cell that has a grokked run, and one spread for all."""
    held = [i for i, cell in enumerate(used) if cell.n_censored + cell.n_diverged]
    if not held:
        return ()
    with_event = np.unique(sample.cell[sample.grokked])
    kept = np.isin(sample.cell, with_event)
    design = (sample.cell[kept, None] == with_event).astype(float)
    part = replace(
        sample,
        n_runs=int(kept.sum()),
        n_cells=len(with_event),
        times=Times(sample.times.low[kept], sample.times.high[kept]),
        regressors=design,
        names=(),
        cell=sample.cell[kept],
        seed=sample.seed[kept],
    )
    fitted = fit(part.times, design, LOGNORMAL) if kept.any() else "no run grokked"
    method = (
        "exp of the cell's location in a lognormal model with a location a cell and one spread of ln T for all clamp "
        f"cells, by maximum likelihood. {TIMES}"
    )
    made = []
    for i in held:
        cell, n_runs = used[i], int((sample.cell == i).sum())
        n_censored = cell.n_censored + cell.n_diverged
        reason = fitted if isinstance(fitted, str) else ""
        if i not in with_event:
            reason = f"all {n_censored} runs of the cell ended without grokking: the median is beyond their horizon"
        if reason or isinstance(fitted, str):
            estimate = absent("median_grokked_step_aft", "step", method, reason, n_runs=n_runs, n_cells=1)
        else:
            at = int(np.searchsorted(with_event, i))
            covariance, width, text = part.covariance(fitted)
            center, half = float(fitted.beta[at]), float(width * np.sqrt(covariance[at, at]))
            end = float(sample.times.low[(sample.cell == i) & ~sample.grokked].max(initial=0.0))
            beyond = " Beyond the horizon: an extrapolation by the lognormal law." if 0 < end < np.exp(center) else ""
            estimate = Estimate(
                "median_grokked_step_aft", float(np.exp(center)), "step", f"{method} {text}{beyond}",
                (float(np.exp(center - half)), float(np.exp(center + half))), n_runs=n_runs, n_cells=1,
            )  # fmt: skip
        made.append(CellMedian(cell.cell_id, cell.label, n_censored, estimate))
    return tuple(made)
