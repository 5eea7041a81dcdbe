"""Is the delay at the highest doses a matter of rounding? float32 against float64 at the same held norms.

arXiv:2606.18465: at rho 1.15 both agree; at rho 1.25 float32 collapses (31 % of the train pairs have a correct-class
probability that rounds to 1) and groks at 25,000 steps, float64 does neither by step 60,000. A cell that does not grok
has no median, so there the outcome is a count and a bound on the ratio, not a ratio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from analysis.estimate import Estimate, absent
from analysis.methods.bootstrap import resampled_means
from analysis.methods.medians import Medians, no_contrast
from analysis.table.cells import Cell

DTYPES = ("float32", "float64")

_RATIO = "Median grokked_step in float64 over that in float32 at rho {:g}, tau 1, equal held norm; paired over seeds."
_BOUND = "Smallest ratio that the budget allows at rho {:g}: the float64 horizon over the float32 median."
_RATE = "Mean over seeds of softmax_collapse_max in {} at rho {:g}, tau 1."
_GROKKED = "Share of the runs in {} at rho {:g}, tau 1 that grokked within the budget."


def precision(
    families: Mapping[str, Sequence[Cell]], runs: pd.DataFrame, *, resamples: int, seed: int
) -> tuple[Estimate, ...]:
    """Both precisions at every dose that both have; `families` is dtype -> cells, `runs` the clean table of runs."""
    doses = _doses(families)
    if not doses:
        why = "no dose at tau 1 has runs in float32 and in float64 at the same held norm"
        return no_contrast("float64_over_float32", _RATIO.format(1.15), why)
    collapse = dict(zip(runs["run_id"], runs["softmax_collapse_max"].to_numpy(dtype=np.float64), strict=True))
    estimates: list[Estimate] = []
    for rho, (single, double) in doses.items():
        pair = Medians([single, double], resamples=resamples, seed=seed)
        estimates += pair.contrast(f"float64_over_float32_rho_{rho:g}", _RATIO.format(rho), lambda m: m[:, 1] / m[:, 0])
        estimates.append(_bound(rho, single, double))
        for dtype, cell in zip(DTYPES, (single, double), strict=True):
            estimates += [_share(rho, dtype, cell), _rate(rho, dtype, cell, collapse, resamples, seed)]
    return tuple(estimates)


def _doses(families: Mapping[str, Sequence[Cell]]) -> dict[float, tuple[Cell, Cell]]:
    by_dtype = [
        {
            c.rho: c
            for c in families.get(d, ())
            if c.arm == "clamp" and c.tau == 1.0 and not c.superseded and c.n_counted
        }
        for d in DTYPES
    ]
    return {
        rho: (single, by_dtype[1][rho])
        for rho, single in sorted(by_dtype[0].items(), key=lambda item: item[0] or 0.0)
        if rho is not None and rho in by_dtype[1] and _comparable(single, by_dtype[1][rho])
    }


def _comparable(one: Cell, other: Cell) -> bool:
    """Whether both hold the same norm and have runs that count."""
    norms = (one.held_norm, other.held_norm)
    known = norms[0] is not None and norms[1] is not None and one.n_counted > 0 and other.n_counted > 0
    return known and bool(np.isclose(norms[0] or 0.0, norms[1] or 0.0, rtol=1e-6))


def _bound(rho: float, single: Cell, double: Cell) -> Estimate:
    name, method = f"float64_over_float32_at_least_rho_{rho:g}", _BOUND.format(rho)
    if double.grokked_step.value is not None:
        return absent(name, "1", method, "float64 has a median, so the ratio itself is given", n_cells=2)
    if single.grokked_step.value is None or double.horizon_steps is None:
        return absent(name, "1", method, "float32 has no median or float64 no horizon", n_cells=2)
    return Estimate(
        name,
        double.horizon_steps / single.grokked_step.value,
        "1",
        method,
        n_runs=single.n_counted + double.n_counted,
        n_cells=2,
        interval_reason="it is itself a lower bound",
    )


def _share(rho: float, dtype: str, cell: Cell) -> Estimate:
    low, high = proportion_confint(cell.n_grokked, cell.n_counted, method="beta")
    return Estimate(
        f"grokked_share_{dtype}_rho_{rho:g}",
        cell.n_grokked / cell.n_counted,
        "1",
        f"{_GROKKED.format(dtype, rho)} Interval: Clopper–Pearson.",
        interval=(float(low), float(high)),
        n_runs=cell.n_counted,
        n_cells=1,
    )


def _rate(rho: float, dtype: str, cell: Cell, collapse: Mapping[str, float], resamples: int, seed: int) -> Estimate:
    medians = Medians([cell], resamples=resamples, seed=seed)
    rates = np.array([[collapse.get(r.run_id, np.nan)] for r in cell.runs])
    ordered = np.argsort([r.seed if r.seed is not None else np.iinfo(np.int64).max for r in cell.runs], kind="stable")
    return medians.of_seeds(
        f"softmax_collapse_{dtype}_rho_{rho:g}",
        _RATE.format(dtype, rho),
        lambda lists: resampled_means(rates[ordered], lists)[:, 0],
    )
