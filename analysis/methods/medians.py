"""Contrasts of cell medians with a paired bootstrap over seeds: the one estimator of ratios between cells.

Each contrast is given twice. As published, a median is over the runs that grokked; and with a run that did not grok
counted as later than all others, which is what a budget says. They are equal where all grokked, and where they are not,
the first makes a cell with censored runs look faster than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from analysis.estimate import Estimate, absent
from analysis.methods.bootstrap import Floats, Ints, resampled_medians, seed_table
from analysis.methods.convention import mean_scales, median_steps, not_grokked
from analysis.methods.regression import closed_form
from analysis.methods.resampled import Kind, Statistic, estimated, seeds_of
from analysis.table.cells import Cell

ALL_RUNS = "_all_runs"
"""Ends the name of a contrast in which a run that did not grok counts as +infinity."""

_PAPER = " Medians over the seeds that grokked."
_ALL = " Medians over all seeds, a run that did not grok within its budget counts as +infinity."


class Medians:
    """Medians of the cells' grokked_step less `origin` steps, in the order of `cells`, and contrasts of them."""

    def __init__(self, cells: Sequence[Cell], *, resamples: int, seed: int, origin: float = 0.0) -> None:
        self.cells = tuple(cells)
        self.table = seed_table(self.cells)
        self.seeds = seeds_of(self.table, resamples, seed)
        self._after = self.table.grokked_step - origin
        self._all_grokked = not np.isinf(self._after).any()
        self._kept: dict[tuple[bool, bytes], Floats] = {}

    def values(self, lists: Ints, *, all_runs: bool) -> Floats:
        """Medians [B, C], NaN where undefined."""
        key = (all_runs or self._all_grokked, lists.tobytes())
        if key not in self._kept:
            after = self._after if key[0] else np.where(np.isfinite(self._after), self._after, np.nan)
            middle = resampled_medians(after, lists)
            self._kept[key] = np.where(np.isfinite(middle), middle, np.nan)
        return self._kept[key]

    def contrast(
        self,
        name: str,
        sentence: str,
        of: Callable[[Floats], Floats],
        unit: str = "1",
        *,
        kind: Kind = Kind.EXPANDED,
    ) -> tuple[Estimate, Estimate]:
        """A function of the medians [B, C] -> [B], as published and with all runs; the second is never PUBLISHED."""
        ours = Kind.EXPANDED if kind is Kind.PUBLISHED else kind
        return (
            self.of_seeds(name, sentence + _PAPER, lambda i: of(self.values(i, all_runs=False)), unit, kind=kind),
            replace(
                self.of_seeds(
                    name + ALL_RUNS, sentence + _ALL, lambda i: of(self.values(i, all_runs=True)), unit, kind=ours
                ),
                left_out=(),
            ),
        )

    def of_seeds(
        self, name: str, sentence: str, statistic: Statistic, unit: str = "1", *, kind: Kind = Kind.EXPANDED
    ) -> Estimate:
        """Any statistic of the seeds of these cells."""
        return estimated(
            name,
            unit,
            sentence,
            statistic,
            self.seeds,
            undefined="a cell has no median or no reading (half of its runs or more did not grok, or too few ran)",
            kind=kind,
            n_runs=sum(c.n_counted for c in self.cells),
            n_cells=len(self.cells),
            left_out=not_grokked(self.cells),
        )

    def r_squared_logit_scale(self, lists: Ints) -> Floats:
        """Squared correlation over the cells of ln T with L, convention `paper`, [B]."""
        y, x = np.log(median_steps(self.table, lists)), mean_scales(self.table, lists)
        return closed_form(y, x, np.zeros_like(x)).r2_a


def no_contrast(name: str, sentence: str, reason: str, unit: str = "1") -> tuple[Estimate, Estimate]:
    """Both contrasts without a value."""
    return absent(name, unit, sentence, reason), absent(name + ALL_RUNS, unit, sentence, reason)


def held_at(cells: Sequence[Cell], rho: float, tau: float) -> Cell | None:
    """The clamp cell of a dose and a temperature that is used."""
    return next((c for c in cells if c.arm == "clamp" and (c.rho, c.tau) == (rho, tau) and not c.superseded), None)
