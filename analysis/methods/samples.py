"""Cells as rows of a regression on logarithms, in the two conventions, with every resample's covariance beside.

`runs`: one row a grokked run, each reading at the run's own grokking step. `paper`: one row a cell, its median
grokked_step over the seeds that grokked and the mean of each reading over its seeds. A run that never grokked has no T,
so neither convention can use it; the sample counts it in `left_out`. Both conventions draw the same seeds, so that
their difference can be resampled.

Shapes: n rows, k columns (given columns, logarithms of the readings, ln T last), B resamples, S seeds, C cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from grok_sweeps.analysis.estimate import Basis, Estimate
from grok_sweeps.analysis.methods.bootstrap import Floats, resampled_means, seed_table
from grok_sweeps.analysis.methods.convention import PAPER, RUNS, grokked_steps, median_steps, not_grokked, unread
from grok_sweeps.analysis.methods.products import covariance, resampled_covariance
from grok_sweeps.analysis.methods.resampled import Kind, interval_of, seeds_of
from grok_sweeps.analysis.table.cells import Cell

Readings = Mapping[str, Floats]
"""Readings by name, each by seed and cell [S, C] as `bootstrap.aligned` gives them, NaN where absent."""


@dataclass(frozen=True, eq=False)
class Sample(Basis):
    """Columns [n, k], their covariances in the resamples [B, k, k] or the reason for none, and what they rest on.

    `n_seeds` are those that have a row, of cells the fewest that one of the columns was read in.
    """

    convention: str
    columns: Floats
    resampled: Floats | None
    no_interval: str
    n_seeds: int
    resampling: str = ""

    def without_resamples(self) -> Sample:
        """The same rows where no fit exists, so that nothing claims to have been resampled."""
        return replace(self, resampled=None, resampling="")

    def estimate(
        self, name: str, unit: str, method: str, value: float, drawn: Floats | None, kind: Kind, reason: str = ""
    ) -> Estimate:
        """A number of these rows with its interval from `drawn` [B], or the reason why there is none."""
        if reason:
            return self.absent(name, unit, method, reason)
        interval, why = (None, self.no_interval) if drawn is None else interval_of(kind, drawn, value, self.n_seeds)
        return self.stated(name, unit, method, value, interval, why, self.resampling)


class Samples:
    """Samples of the same cells and the same draws of their seeds, of whichever readings.

    `given` has the columns that a cell's runs share, one sequence a cell; `left_out` is repeated by every sample.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        given: Sequence[Sequence[float]],
        *,
        resamples: int,
        seed: int,
        left_out: tuple[str, ...] = (),
    ) -> None:
        self.cells, self.left_out = tuple(cells), left_out
        self.given = np.array(given, dtype=np.float64).reshape(len(cells), len(given[0]) if given else 0)
        self.table = seed_table(cells)
        self.steps = grokked_steps(self.table)
        self.seeds = seeds_of(self.table, resamples, seed)

    def of(self, convention: str, readings: Readings) -> Sample:
        """The sample of one convention."""
        return self._cells(readings) if convention == PAPER else self._runs(readings)

    def _runs(self, readings: Readings) -> Sample:
        grokked = ~np.isnan(self.steps)
        left_out, has = list(self.left_out), grokked
        n_never = int(np.isinf(self.table.grokked_step).sum())
        if n_never:
            left_out.append(
                f"{n_never} runs that did not grok, so that nothing was read at grokking (see the survival models)"
            )
        for name, values in readings.items():
            lacking = has & ~(values > 0)
            if lacking.any():
                left_out.append(f"{int(lacking.sum())} grokked runs without a positive {name}")
            has = has & ~lacking
        cell, seed = np.nonzero(has.T)
        logs = [np.log(values[seed, cell]) for values in (*readings.values(), self.steps)]
        columns = np.column_stack([self.given[cell], *logs])
        n_seeds = len(np.unique(seed))
        sample = Sample(len(columns), len(np.unique(cell)), tuple(left_out), RUNS, columns, None, "", n_seeds)
        return self._with(sample, lambda: resampled_covariance(columns, seed, self.seeds.lists))

    def _cells(self, readings: Readings) -> Sample:
        whole = self.seeds.whole
        means = {name: resampled_means(values, whole)[0] for name, values in readings.items()}
        positive = {name: mean > 0 for name, mean in means.items()}
        left_out = []
        for name, has in positive.items():
            lacking = [c.label for c, ok in zip(self.cells, has, strict=True) if not ok]
            left_out += [
                f"{label}: no positive {name}" for label in (lacking if has.any() else lacking and ["all cells"])
            ]
        kept = np.all([*positive.values(), np.ones(len(self.cells), dtype=bool)], axis=0)
        used = [c for c, ok in zip(self.cells, kept, strict=True) if ok]
        steps = self.steps[:, kept]
        logs = [np.log(mean[kept]) for mean in means.values()]
        columns = np.column_stack([self.given[kept], *logs, np.log(median_steps(self.table, whole)[0, kept])])
        read = {name: values[:, kept] for name, values in readings.items()}
        n_seeds = min(int((~np.isnan(values)).any(axis=1).sum()) for values in (steps, *read.values()))
        n_runs = int((~np.isnan(steps)).sum())
        left_out = [*self.left_out, *not_grokked(used), *left_out]
        left_out += [sentence for name, values in read.items() for sentence in unread(name, values, steps)]
        sample = Sample(n_runs, len(used), tuple(left_out), PAPER, columns, None, "", n_seeds)

        def drawn() -> Floats:
            lists = self.seeds.lists
            parts = [np.broadcast_to(column, (len(lists), len(used))) for column in self.given[kept].T]
            parts += [_log(resampled_means(values, lists)) for values in read.values()]
            return covariance(np.stack([*parts, self._drawn_steps[:, kept]], axis=-1))

        return self._with(sample, drawn)

    @cached_property
    def _drawn_steps(self) -> Floats:
        """Logarithm of T of each resample and cell, [B, C]."""
        return _log(median_steps(self.table, self.seeds.lists))

    def _with(self, sample: Sample, resampled: Callable[[], Floats]) -> Sample:
        """The sample with its resamples, or with the reason why there are none."""
        why = self.seeds.reason or ("one seed cannot be resampled" if sample.n_seeds < 2 else "")
        if why:
            return replace(sample, no_interval=why)
        return replace(sample, resampled=resampled(), resampling=self.seeds.text)


def _log(values: Floats) -> Floats:
    """Logarithm, NaN where the value is not a positive number."""
    positive = (values > 0) & np.isfinite(values)
    return np.where(positive, np.log(np.where(positive, values, 1.0)), np.nan)
