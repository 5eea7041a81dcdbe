"""Contrasts of cell medians with a paired bootstrap over seeds: the one estimator of ratios between cells.

Each contrast is given twice. As published, a median is over the runs that grokked; and with a run that did not grok
counted as later than all others, which is what a budget says. They are equal where all grokked, and where they are not,
the first makes a cell with censored runs look faster than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, resampled_medians, seed_table
from grok_sweeps.analysis.methods.convention import mean_scales, median_steps, not_grokked, paper_scales
from grok_sweeps.analysis.methods.regression import closed_form
from grok_sweeps.analysis.methods.resampled import Kind, Statistic, estimated, seeds_of
from grok_sweeps.analysis.table.cells import Cell

ALL_RUNS = "_all_runs"
"""Ends the name of a contrast in which a run that did not grok counts as +infinity."""

_PAPER = " Medians over the seeds that grokked."
_ALL = " Medians over all seeds, a run that did not grok within its budget counts as +infinity."


class Medians:
    """Medians of the cells' grokked_step less `origin` steps, in the order of `cells`, and contrasts of them.

    `left_out` is what the caller did not put in, a sentence each; every estimate repeats it.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        resamples: int,
        seed: int,
        origin: float = 0.0,
        left_out: tuple[str, ...] = (),
    ) -> None:
        self.cells, self.left_out = tuple(cells), left_out
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
        beyond: str = "",
    ) -> tuple[Estimate, Estimate]:
        """A function of the medians [B, C] -> [B], as published and with all runs; the second is never PUBLISHED.

        `beyond` is why the second has no value although the first may: a cell that is not among these, since no run of
        it grokked.
        """
        ours = Kind.EXPANDED if kind is Kind.PUBLISHED else kind
        paper = self.of_seeds(name, sentence + _PAPER, lambda i: of(self.values(i, all_runs=False)), unit, kind=kind)
        every = ~np.isnan(self.table.grokked_step)
        if beyond:
            text, n_runs = sentence + _ALL, int(every.sum())
            n_cells, left_out = len(self.cells), self.left_out
            return paper, absent(name + ALL_RUNS, unit, text, beyond, n_runs=n_runs, n_cells=n_cells, left_out=left_out)
        return paper, self.of_seeds(
            name + ALL_RUNS,
            sentence + _ALL,
            lambda i: of(self.values(i, all_runs=True)),
            unit,
            kind=ours,
            used=every,
        )

    def of_seeds(
        self,
        name: str,
        sentence: str,
        statistic: Statistic,
        unit: str = "1",
        *,
        kind: Kind = Kind.EXPANDED,
        used: NDArray[np.bool_] | None = None,
        lacking: str = "without a reading",
    ) -> Estimate:
        """Any statistic of the seeds of these cells; `used` [S, C] are the runs that it reads, else those that grokked.

        `lacking` says of the other runs why they are not read.
        """
        n_counted = sum(c.n_counted for c in self.cells)
        if used is None:
            n_runs, unread = sum(c.n_grokked for c in self.cells), not_grokked(self.cells)
        else:
            n_runs = int(used.sum())
            unread = (f"{n_counted - n_runs} runs {lacking}",) if n_runs < n_counted else ()
        return estimated(
            name,
            unit,
            sentence,
            statistic,
            self.seeds,
            undefined="a cell has no median or no reading (half of its runs or more did not grok, or too few ran)",
            kind=kind,
            n_runs=n_runs,
            n_cells=len(self.cells),
            left_out=(*unread, *self.left_out),
        )

    def of_scales(self, name: str, sentence: str, of: Callable[[Floats], Floats]) -> Estimate:
        """A function of the cells' L [B, C] -> [B], convention `paper`: logged, a run need not have grokked for it."""
        used = ~np.isnan(paper_scales(self.table))
        return self.of_seeds(name, sentence, lambda i: of(mean_scales(self.table, i)), used=used, lacking="without L")

    def r_squared_logit_scale(self, lists: Ints) -> Floats:
        """Squared correlation over the cells of ln T with L, convention `paper`, [B]."""
        y, x = np.log(median_steps(self.table, lists)), mean_scales(self.table, lists)
        return closed_form(y, x, np.zeros_like(x)).r2_a


def no_contrast(
    name: str, sentence: str, reason: str, unit: str = "1", *, left_out: tuple[str, ...] = ()
) -> tuple[Estimate, Estimate]:
    """Both contrasts without a value."""
    return (
        absent(name, unit, sentence, reason, left_out=left_out),
        absent(name + ALL_RUNS, unit, sentence, reason, left_out=left_out),
    )


def held_at(cells: Sequence[Cell], rho: float, tau: float) -> Cell | None:
    """The clamp cell of a dose and a temperature that is used."""
    return next((c for c in cells if c.arm == "clamp" and (c.rho, c.tau) == (rho, tau) and not c.superseded), None)
