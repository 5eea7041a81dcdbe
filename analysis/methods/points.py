"""The points of a regression of y = ln T on L and rho, as moments that add over seeds and cells.

Every fit of the collapse, its resamples, and its predictions of a cell left out follow from ten sums a cell
(`regression.moments`). Under convention `runs` those of a resample are counts of seeds times sums a seed, so thousands
of resamples of thousands of runs are one matrix product.

Shapes: B resamples, S seeds, C cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, SeedTable, counts
from grok_sweeps.analysis.methods.convention import PAPER, grokked_steps, mean_scales, median_steps
from grok_sweeps.analysis.methods.regression import Fits, about_mean, fits_of, moments

_CHUNK = 8000
"""Cells of resamples at once, so that what is computed from them stays in the processor's cache."""

MODELS = ("logit_scale", "rho", "both")


@dataclass(frozen=True, eq=False)
class Points:
    """Aligned runs of C cells with their doses `rho` [C], under one convention."""

    table: SeedTable
    rho: Floats
    convention: str

    @property
    def rows(self) -> tuple[Floats, Floats, Floats, Ints, Ints]:
        """y, L, rho, seed and cell of every run that has T and L, each [runs]: the table of convention `runs`."""
        steps, scale = grokked_steps(self.table), self.table.logit_scale
        seed, cell = np.nonzero(~np.isnan(steps) & ~np.isnan(scale))
        return np.log(steps[seed, cell]), scale[seed, cell], self.rho[cell], seed, cell

    def sample(self) -> tuple[Floats, Floats, Floats]:
        """y, L and rho of all seeds, a point a cell or a run."""
        if self.convention != PAPER:
            return self.rows[:3]
        whole = np.arange(len(self.table))[None]
        return np.log(median_steps(self.table, whole)[0]), mean_scales(self.table, whole)[0], self.rho

    def moments(self, lists: Ints) -> Floats:
        """Moments of each cell about fixed centres for each list of seeds, [B, C, 10]."""
        centres = [v.mean() if v.size else 0.0 for v in self.sample()]
        if self.convention == PAPER:
            y, scale = np.log(median_steps(self.table, lists)), mean_scales(self.table, lists)
            return moments(y - centres[0], scale - centres[1], self.rho - centres[2])
        *values, seed, cell = self.rows
        by_seed = np.zeros((*self.table.grokked_step.shape, 10))
        by_seed[seed, cell] = moments(*(v - c for v, c in zip(values, centres, strict=True)))
        return np.tensordot(counts(lists, len(self.table)), by_seed, axes=1)

    def fits(self, lists: Ints) -> Fits:
        """The three fits for each list of seeds."""
        return fits_of(self.moments(lists).sum(axis=1))


def prediction_errors(cells: Floats) -> dict[str, Floats]:
    """Root mean square error [B] of predicting y in each cell from a fit on all others, from moments [B, C, 10]."""
    size = max(1, _CHUNK // cells.shape[1]) if cells.shape[1] else len(cells)
    parts = [_prediction_errors(cells[i : i + size]) for i in range(0, len(cells), max(1, size))]
    return {model: np.concatenate([part[model] for part in parts]) for model in MODELS}


def _prediction_errors(cells: Floats) -> dict[str, Floats]:
    total = cells.sum(axis=1, keepdims=True)
    rest = total - cells
    fit = fits_of(rest)
    mean = rest[..., 1:4] / np.where(rest[..., :1] > 0, rest[..., :1], np.nan)
    yy, aa, bb, ya, yb, ab = about_mean(cells, mean)
    a, b = fit.slope_a_given_b, fit.slope_b_given_a
    squares = {
        "logit_scale": yy - 2 * fit.slope_a * ya + fit.slope_a**2 * aa,
        "rho": yy - 2 * fit.slope_b * yb + fit.slope_b**2 * bb,
        "both": yy - 2 * a * ya - 2 * b * yb + a**2 * aa + b**2 * bb + 2 * a * b * ab,
    }
    return {model: np.sqrt(np.maximum(s, 0.0).sum(axis=1) / total[:, 0, 0]) for model, s in squares.items()}
