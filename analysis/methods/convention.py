"""The two conventions by which a cell or a run becomes a point: `paper` and `runs`.

`paper` (as published in arXiv:2606.18465): one point a cell; T is the median over the seeds that grokked, L the seed
mean at the logged step nearest to that median. `runs`: one point a run that grokked, T and L its own. A run that did
not grok is in neither: an estimate says how many there are, and the survival model is what keeps them.

Without curves there is no logged L; `paper` then takes the mean over seeds of L at each run's own grokking step, in all
cells alike, and says so. What is set against L has no such substitute: it is read at the logged step, or has a reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grok_sweeps.analysis.estimate import Estimate, Named, named
from grok_sweeps.analysis.methods.bootstrap import (
    Floats,
    Ints,
    SeedTable,
    resampled_means,
    resampled_medians,
    seed_table,
)
from grok_sweeps.analysis.table.cells import Cell

PAPER, RUNS = "paper", "runs"
MINUS = "_runs_minus_paper"

PAPER_T = "T is the cell's median grokked_step over the seeds that grokked"
_LOGGED = "the mean over seeds at the logged step nearest to that median (every 200 steps, every 25 under mse)"
LOGGED_L, LOGGED_READINGS = f"L is {_LOGGED}", f"every reading is {_LOGGED}"
OWN_L = "L is the mean over seeds of logit_scale_at_grok, since not every cell has L over time"
RUNS_T = "one row a run that grokked, T and L at its own grokking step"
RUNS_READINGS = "one row a run that grokked, T and every reading at its own grokking step"


class InBoth:
    """The same estimates by both conventions, and their `differences`, whose names end in `MINUS`."""

    __slots__ = ()
    runs: Named
    paper: Named
    differences: tuple[Estimate, ...]

    def difference(self, name: str) -> Estimate:
        """Estimate of convention `runs` minus that of `paper`."""
        return named(self.differences, name + MINUS)


def usable(cells: Sequence[Cell]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """The cells with held norm, T and L that an analysis of both may use, and a sentence for each that it may not."""
    return _split(cells, needs_scale=True)


def usable_without_scale(cells: Sequence[Cell]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """The same for an analysis of T alone."""
    return _split(cells, needs_scale=False)


def grokked_steps(table: SeedTable) -> Floats:
    """grokked_step [S, C], NaN also where a run did not grok."""
    return np.where(np.isfinite(table.grokked_step), table.grokked_step, np.nan)


def median_steps(table: SeedTable, lists: Ints) -> Floats:
    """T of convention `paper` for each list of seeds, [B, C]."""
    return resampled_medians(grokked_steps(table), lists)


def is_logged(table: SeedTable) -> bool:
    """Whether every cell has L at its logged step."""
    return bool((~np.isnan(table.logged_scale)).any(axis=0).all()) and table.logged_scale.size > 0


def paper_scales(table: SeedTable) -> Floats:
    """L of convention `paper` of each run, [S, C]: at the logged step, or where that is unknown at its own."""
    return table.logged_scale if is_logged(table) else table.logit_scale


def mean_scales(table: SeedTable, lists: Ints) -> Floats:
    """L of convention `paper` for each list of seeds, [B, C]."""
    return resampled_means(paper_scales(table), lists)


def cell_scales(cells: Sequence[Cell]) -> list[float]:
    """L of convention `paper` of each cell, NaN where it has none."""
    table = seed_table(cells)
    return [float(v) for v in mean_scales(table, np.arange(len(table))[None])[0]] if cells else []


def scale_sentence(table: SeedTable) -> str:
    """Which L `mean_scales` gives."""
    return LOGGED_L if is_logged(table) else OWN_L


def not_grokked(cells: Sequence[Cell]) -> tuple[str, ...]:
    """A sentence on the runs of these cells that did not grok and therefore have no T."""
    n = sum(c.n_counted - c.n_grokked for c in cells)
    return (f"{n} runs that did not grok (censored, diverged)",) if n else ()


def unread(name: str, values: Floats, steps: Floats) -> tuple[str, ...]:
    """A sentence on the runs that count for T, `steps` [S, C], and not for the cell's mean of a reading, `values`."""
    n = int((np.isnan(values) & ~np.isnan(steps)).sum())
    return (f"{n} grokked runs without {name}, of which T is used",) if n else ()


def unscaled(table: SeedTable, places: Sequence[int] | None = None) -> tuple[str, ...]:
    """The same for L of convention `paper`, in all cells or in those at these places."""
    columns = slice(None) if places is None else list(places)
    return unread("L", paper_scales(table)[:, columns], grokked_steps(table)[:, columns])


def _split(cells: Sequence[Cell], *, needs_scale: bool) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    used, left_out = [], []
    for cell in cells:
        why = _why_not(cell, needs_scale)
        if why:
            left_out.append(f"{cell.label}: {why}")
        else:
            used.append(cell)
    return tuple(used), tuple(left_out)


def _why_not(cell: Cell, needs_scale: bool) -> str:
    if cell.arm != "clamp" or cell.rho is None:
        return "the norm is not held at one dose"
    if cell.superseded:
        return cell.superseded
    if 2 * cell.n_grokked <= cell.n_counted:
        return f"no majority grokked ({cell.n_grokked} of {cell.n_counted})"
    if cell.grokked_step.reason:
        return cell.grokked_step.reason
    has_scale = any(r.logged_scale is not None for r in cell.runs)
    return cell.logit_scale.reason if needs_scale and not has_scale else ""
