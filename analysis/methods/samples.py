"""Cells as rows of a regression on logarithms, in the two conventions, with every resample's covariance beside.

`runs`: one row a grokked run, each reading at the run's own grokking step. `paper`: one row a cell, its median
grokked_step and the mean of each reading over its seeds. A run that never grokked has no reading at grokking,
so neither convention can use it; the sample counts it in `left_out`.

Shapes: n rows, k columns (given columns, logarithms of the readings, ln T last), B resamples, S seeds, C cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.methods.bootstrap import Floats, draw, resampled_means, resampled_medians, seed_table
from analysis.methods.convention import PAPER, RUNS
from analysis.methods.products import covariance, resampled_covariance
from analysis.table.cells import Cell

SENTENCES = {
    RUNS: "One row a grokked run, readings at its own grokking step.",
    PAPER: "One row a cell: median grokked_step over its runs, mean of a reading over its seeds.",
}

Reading = Mapping[str, float]
"""A quantity at grokking by run_id."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Columns [n, k], their covariances in the resamples [B, k, k] or the reason for none, and what they rest on."""

    convention: str
    columns: Floats
    resampled: Floats | None
    no_interval: str
    n_seeds: int
    n_runs: int
    n_cells: int
    left_out: tuple[str, ...]
    resampling: str = ""

    def without_resamples(self) -> Sample:
        """The same rows where no fit exists, so that nothing claims to have been resampled."""
        return replace(self, resampled=None, resampling="")


def logit_scale(cells: Sequence[Cell]) -> Reading:
    """L of every run that has it."""
    return {r.run_id: r.logit_scale for c in cells for r in c.runs if r.logit_scale is not None}


def logged_scale(cells: Sequence[Cell]) -> Reading:
    """L of every run at the step that is logged nearest to its cell's median."""
    return {r.run_id: r.logged_scale for c in cells for r in c.runs if r.logged_scale is not None}


def run_sample(
    cells: Sequence[Cell],
    given: Sequence[Sequence[float]],
    readings: Mapping[str, Reading],
    *,
    resamples: int,
    seed: int,
    left_out: tuple[str, ...] = (),
) -> Sample:
    """Rows of convention `runs`; `given` has the columns that a cell's runs share, one sequence a cell."""
    rows, seeds = [], []
    n_never, n_without = 0, dict.fromkeys(readings, 0)
    for cell, shared in zip(cells, given, strict=True):
        for run in cell.runs:
            values = {name: reading.get(run.run_id, np.nan) for name, reading in readings.items()}
            lacking = [name for name, value in values.items() if not value > 0]
            if not np.isfinite(run.grokked_step):
                n_never += 1
            elif lacking:
                n_without[lacking[0]] += 1
            else:
                rows.append([*shared, *np.log([*values.values(), run.grokked_step])])
                seeds.append(run.seed)
    if n_never:
        left_out += (
            f"{n_never} runs that did not grok, so that nothing was read at grokking (see the survival models)",
        )
    left_out += tuple(f"{n} grokked runs without a positive {name}" for name, n in n_without.items() if n)
    columns = np.array(rows, dtype=float).reshape(len(rows), _width(given) + len(readings) + 1)
    names = sorted({s for s in seeds if s is not None})
    why = _why_no_interval(cells, len(names), resamples)
    sample = Sample(RUNS, columns, None, why, len(names), len(rows), len(cells), left_out)
    if why:
        return sample
    place = {name: i for i, name in enumerate(names)}
    seed_of = np.array([place[s] for s in seeds if s is not None])
    return _with(sample, resampled_covariance(columns, seed_of, draw(len(names), resamples, seed)), seed)


def cell_sample(
    cells: Sequence[Cell],
    given: Sequence[Sequence[float]],
    readings: Mapping[str, Reading],
    *,
    resamples: int,
    seed: int,
    left_out: tuple[str, ...] = (),
) -> Sample:
    """Rows of convention `paper`."""
    tables = {name: _table(cells, reading) for name, reading in readings.items()}
    means = {name: resampled_means(table, np.arange(len(table))[None])[0] for name, table in tables.items()}
    steps = np.array([c.grokked_step.value or np.nan for c in cells], dtype=float)
    positive = {name: values > 0 for name, values in (*means.items(), ("median grokked_step", steps))}
    for name, has in positive.items():
        left_out += tuple(f"{c.label}: no positive {name}" for c, ok in zip(cells, has, strict=True) if not ok)
    kept = np.all([*positive.values()], axis=0).astype(bool)
    shared = np.array([list(g) for g in given], dtype=float).reshape(len(cells), _width(given))[kept]
    columns = np.column_stack([shared, *(np.log(m[kept]) for m in means.values()), np.log(steps[kept])])
    used = [c for c, ok in zip(cells, kept, strict=True) if ok]
    table = seed_table(used)
    n_seeds = len(table.grokked_step)
    why = _why_no_interval(used, n_seeds, resamples)
    n_runs = sum(c.n_counted for c in used)
    sample = Sample(PAPER, columns, None, why, n_seeds, n_runs, len(used), left_out)
    if why:
        return sample
    lists = draw(n_seeds, resamples, seed)
    parts = [np.broadcast_to(column, (resamples, len(used))) for column in shared.T]
    parts += [_log(resampled_means(_table(used, reading), lists)) for reading in readings.values()]
    parts.append(_log(resampled_medians(table.grokked_step, lists)))
    return _with(sample, covariance(np.stack(parts, axis=-1)), seed)


def _width(given: Sequence[Sequence[float]]) -> int:
    return len(given[0]) if given else 0


def _with(sample: Sample, resampled: Floats, seed: int) -> Sample:
    text = f"{len(resampled):,} resamples of {sample.n_seeds} seeds, seed {seed}"
    return replace(sample, resampled=resampled, resampling=text)


def _why_no_interval(cells: Sequence[Cell], n_seeds: int, resamples: int) -> str:
    few = "one seed cannot be resampled" if n_seeds < 2 else ""
    return seed_table(cells).problem or few or ("" if resamples >= 1 else "no resamples were asked for")


def _table(cells: Sequence[Cell], reading: Reading) -> Floats:
    """A reading by seed and cell [S, C], NaN where absent; without seeds every run is its own row."""
    nameless = any(r.seed is None for c in cells for r in c.runs)
    keys = sorted({r.run_id if nameless else r.seed for c in cells for r in c.runs})  # type: ignore[type-var]
    place = {key: i for i, key in enumerate(keys)}
    table = np.full((len(keys), len(cells)), np.nan)
    for column, cell in enumerate(cells):
        for run in reversed(cell.runs):
            table[place[run.run_id if nameless else run.seed], column] = reading.get(run.run_id, np.nan)
    return table


def _log(values: Floats) -> Floats:
    """Logarithm, NaN where the value is not a positive number."""
    positive = (values > 0) & np.isfinite(values)
    return np.where(positive, np.log(np.where(positive, values, 1.0)), np.nan)
