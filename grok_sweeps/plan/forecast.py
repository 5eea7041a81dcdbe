"""What the runs of a plan that are still to come will take, learned from those that have their rows.

One per plan and reader. It is told each row once, and sums up again only the cells of rows that are new; the law is
fitted anew when there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from math import inf, log
from typing import Any

import numpy as np

from grok_sweeps.plan.cells import Cells
from grok_sweeps.plan.estimate import steps_of
from grok_sweeps.plan.learned import Accuracy, DelayLaw, Floats, Seen
from grok_sweeps.plan.plan import Plan

_AT = {"grokked": "grokked_step", "censored": "steps_run"}
"""Outcomes that say something of the law, and the column of the step at which the run grokked or was given up."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Run-steps done by finished runs and expected of the others; `accuracy` is None before a run has finished."""

    steps_done: int
    steps_left: int
    accuracy: Accuracy | None


class Forecast:
    """The forecast of one plan with these cells, whose runs are known by their places in it."""

    def __init__(self, plan: Plan, cells: Cells) -> None:
        self._cells, self._law = cells, DelayLaw(cells.configs)
        n_runs, n_cells = len(plan.runs), len(cells.configs)
        self._starts = [run.config.fork_step or 0 for run in plan.runs]
        self._steps: list[int | None] = [None] * n_runs
        self._steps_done = 0
        self._missing = [len(members) for members in cells.members]
        self._ln = {outcome: np.zeros(n_runs) for outcome in _AT}
        self._has = {outcome: np.zeros(n_runs) for outcome in _AT}
        self._ended_at = np.full(n_runs, inf)
        nothing = np.zeros(n_cells)
        self._seen = Seen(nothing, nothing.copy(), nothing.copy(), nothing.copy(), np.full(n_cells, inf))
        self._stale: set[int] = set()
        self._last: Outlook | None = None

    def add(self, place: int, row: Mapping[str, Any]) -> None:
        """Learn the row of a run; one that it had before is forgotten."""
        cell, before = self._cells.of_run[place], self._steps[place]
        steps = 0 if row["outcome"] == "failed" else row["steps_run"] - self._starts[place]
        self._steps[place] = steps
        self._steps_done += steps - (before or 0)
        self._missing[cell] -= before is None
        for outcome, step in _AT.items():
            has = row["outcome"] == outcome
            self._has[outcome][place] = has
            self._ln[outcome][place] = log(max(row[step], 1)) if has else 0.0
        self._ended_at[place] = row["finished_at"].timestamp() if row["outcome"] in _AT else inf
        self._stale.add(cell)
        self._last = None

    def outlook(self) -> Outlook:
        """What is done and what is left, by the rows so far."""
        if self._last is None:
            self._sum_up()
            expected = self._law.fit(self._seen).tolist()
            left = sum(
                n * steps_of(self._cells.configs[cell], expected[cell]) for cell, n in enumerate(self._missing) if n
            )
            self._last = Outlook(self._steps_done, left, self._law.accuracy(self._seen))
        return self._last

    def _sum_up(self) -> None:
        """Sum up the cells of new rows, in the plan's order: in whichever order rows come, the sums are the same."""
        if not self._stale:
            return
        cells = sorted(self._stale)
        self._stale.clear()
        members = [self._cells.members[cell] for cell in cells]
        sizes = [len(places) for places in members]
        places = np.fromiter(chain.from_iterable(members), np.intp, sum(sizes))
        belongs = np.repeat(np.arange(len(cells)), sizes)

        def summed(values: Floats) -> Floats:
            return np.bincount(belongs, weights=values[places]).astype(float)

        seen = self._seen
        for outcome, n, mean in (
            ("grokked", seen.n_grokked, seen.ln_grokked),
            ("censored", seen.n_censored, seen.ln_horizon),
        ):
            n[cells] = summed(self._has[outcome])
            mean[cells] = summed(self._ln[outcome]) / np.maximum(n[cells], 1.0)
        seen.first_at[cells] = np.minimum.reduceat(self._ended_at[places], np.cumsum([0, *sizes[:-1]]))
