"""From the two tables to the analysis of one sweep: pure, without files, clock or environment."""

from __future__ import annotations

import numpy as np
import pandas as pd
import statsmodels

from analysis.cells import make_cells
from analysis.collapse import collapse
from analysis.curves import cell_curves
from analysis.families import FamilyKey, split
from analysis.recovery import recovery
from analysis.result import Analysis, Counts, Family
from analysis.tables import Tables, clean


def analyze(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    sweep: str,
    n_planned: int | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Analysis:
    """Estimate cells, collapse regression and recovery fraction of one sweep (arXiv:2606.18465).

    `runs` has one row a run and `curves` one row a reading, with the columns of `grok_sweeps.schema`; columns may be
    missing, and rows of other sweeps are left out. `n_planned` is the number of planned runs, `resamples` and `seed`
    those of the bootstrap. Never raises on odd data: an estimate that cannot be had carries its reason.
    """
    tables = clean(runs, curves, sweep)
    resamples = max(0, resamples)
    return Analysis(
        sweep=sweep,
        counts=_counts(tables.runs, n_planned),
        families=tuple(_family(key, rows, tables, resamples, seed) for key, rows in split(tables.runs)),
        notes=(*tables.notes, *_columns_note(tables)),
        resamples=resamples,
        seed=seed,
        versions=(("statsmodels", statsmodels.__version__), ("numpy", np.__version__), ("pandas", pd.__version__)),
    )


def _family(key: FamilyKey, rows: pd.DataFrame, tables: Tables, resamples: int, seed: int) -> Family:
    cells = make_cells(rows, tables.missing)
    loss = dict(key.config)["loss"]
    return Family(
        key=key,
        cells=cells,
        collapse=collapse(cells, resamples=resamples, seed=seed),
        recovery=recovery(cells, loss=None if loss is None else str(loss), resamples=resamples, seed=seed),
        curves=cell_curves(cells, tables.curves),
    )


def _counts(runs: pd.DataFrame, n_planned: int | None) -> Counts:
    outcome = runs["outcome"]
    grokked, censored, diverged, failed = (
        int((outcome == o).sum()) for o in ("grokked", "censored", "diverged", "failed")
    )
    return Counts(len(runs), n_planned, grokked, censored, diverged, failed, int(outcome.isna().sum()))


def _columns_note(tables: Tables) -> tuple[str, ...]:
    return (f"runs: absent columns taken as unknown: {', '.join(sorted(tables.missing))}",) if tables.missing else ()
