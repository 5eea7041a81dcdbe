"""From the two tables to the analysis of one sweep or of several together: no files, clock or environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pandas as pd
import scipy
import statsmodels

from grok_sweeps.analysis.claims import check_claims
from grok_sweeps.analysis.comparisons import compare
from grok_sweeps.analysis.estimators.allocation import allocation
from grok_sweeps.analysis.estimators.collapse import collapse
from grok_sweeps.analysis.estimators.equivalence import equivalence
from grok_sweeps.analysis.estimators.law import law
from grok_sweeps.analysis.estimators.mediation import mediation
from grok_sweeps.analysis.estimators.mediators import mediators
from grok_sweeps.analysis.estimators.memorisation import memorisation
from grok_sweeps.analysis.estimators.recovery import recoveries
from grok_sweeps.analysis.estimators.survival import survival
from grok_sweeps.analysis.estimators.transformer import transformer
from grok_sweeps.analysis.result import Analysis, Counts, Family
from grok_sweeps.analysis.table.cells import make_cells
from grok_sweeps.analysis.table.curves import cell_curves
from grok_sweeps.analysis.table.families import FamilyKey, split
from grok_sweeps.analysis.table.logged import with_logged_readings
from grok_sweeps.analysis.table.tables import Tables, clean


class Few(TypedDict):
    """How often seeds are resampled, and from which seed."""

    resamples: int
    seed: int


RESAMPLES = 4000
"""As many as arXiv:2606.18465 takes."""


def analyze(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    sweep: str | Sequence[str],
    n_planned: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Analysis:
    """All estimates of arXiv:2606.18465 that the table of one sweep, or of several together, supports.

    `runs` has one row a run and `curves` one row a reading, with the columns of `grok_sweeps.schema`; columns may be
    missing, and rows of other sweeps are left out. `n_planned` is the number of planned runs, `resamples` and `seed`
    those of the bootstrap. Never raises on odd data: an estimate that cannot be had carries its reason.
    """
    sweeps = (sweep,) if isinstance(sweep, str) else tuple(sweep)
    tables = clean(runs, curves, sweeps)
    resamples = max(0, resamples)
    families = tuple(_family(key, rows, tables, resamples, seed) for key, rows in split(tables.runs))
    comparisons = compare([(f.key, f.cells) for f in families], tables.runs, resamples=resamples, seed=seed)
    return Analysis(
        sweep=", ".join(sweeps),
        counts=_counts(tables, n_planned),
        families=families,
        comparisons=comparisons,
        claims=check_claims(families, comparisons, resamples=resamples, seed=seed),
        notes=(*tables.notes, *_columns_note(tables)),
        resamples=resamples,
        seed=seed,
        versions=tuple((module.__name__, module.__version__) for module in (statsmodels, scipy, np, pd)),
    )


def _family(key: FamilyKey, rows: pd.DataFrame, tables: Tables, resamples: int, seed: int) -> Family:
    config = {name: None if value is None else str(value) for name, value in key.config}
    curves = tables.curves_of(rows)
    cells = with_logged_readings(make_cells(rows, tables.missing), curves, config["loss"])
    few: Few = {"resamples": resamples, "seed": seed}
    return Family(
        key=key,
        cells=cells,
        curves=cell_curves(cells, curves),
        collapse=collapse(cells, **few),
        recovery=recoveries(cells, loss=config["loss"], **few),
        law=law(cells, **few),
        mediation=mediation(cells, **few),
        mediators=mediators(cells, rows, **few),
        equivalence=equivalence(cells, **few),
        survival=survival(cells, rows),
        memorisation=memorisation(cells, **few),
        allocation=allocation(cells, **few),
        transformer=transformer(cells, arch=config["arch"], **few),
    )


def _counts(tables: Tables, n_planned: int | None) -> Counts:
    outcome = tables.runs["outcome"]
    grokked, censored, diverged, failed = (
        int((outcome == o).sum()) for o in ("grokked", "censored", "diverged", "failed")
    )
    n_rows, n_unknown = len(tables.runs) + tables.n_left_out, int(outcome.isna().sum()) + tables.n_left_out
    return Counts(n_rows, n_planned, grokked, censored, diverged, failed, n_unknown)


def _columns_note(tables: Tables) -> tuple[str, ...]:
    return (f"runs: absent columns taken as unknown: {', '.join(sorted(tables.missing))}",) if tables.missing else ()
