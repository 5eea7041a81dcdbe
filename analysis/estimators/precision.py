"""Is the delay at the highest doses a matter of rounding? float32 against float64 at the same held norms.

arXiv:2606.18465: at rho 1.15 both agree; at rho 1.25 float32 collapses (31 % of the train pairs have a correct-class
probability that rounds to 1) and groks at 25,000 steps, float64 does neither by step 60,000. A cell that does not grok
has no median, so there the outcome is a count and a bound on the ratio, not a ratio. A run that spent its budget groks
after its last step if at all, which bounds its order statistic from below; a diverged run groks never, and the step at
which it diverged says nothing of how slow the others are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.methods.bootstrap import resampled_means
from grok_sweeps.analysis.methods.medians import Medians, no_contrast
from grok_sweeps.analysis.table.cells import Cell

DTYPES = ("float32", "float64")

_RATIO = "Median grokked_step in float64 over that in float32 at rho {:g}, tau 1, equal held norm; paired over seeds."
_BOUND = (
    "Lower bound of that ratio at rho {:g}: the median over the float64 runs, each that did not grok taken as if it "
    "had at its last step (steps_run, else max_steps), over the float32 median over all runs; diverged float64 runs "
    "left out."
)
_RATE = "Mean over seeds of softmax_collapse_max in {} at rho {:g}, tau 1."
_GROKKED = "Share of the runs in {} at rho {:g}, tau 1 that grokked within the budget."


def precision(
    families: Mapping[str, Sequence[Cell]], runs: pd.DataFrame, *, resamples: int, seed: int
) -> tuple[Estimate, ...]:
    """Both precisions at every dose that both have; `families` is dtype -> cells, `runs` the clean table of runs."""
    doses, left_out = _doses(families)
    if not doses:
        why = "no dose at tau 1 has runs in float32 and in float64 at the same held norm"
        return no_contrast("float64_over_float32", _RATIO.format(1.15), why, left_out=left_out)
    by_run = runs.drop_duplicates("run_id").set_index("run_id")
    estimates: list[Estimate] = []
    for rho, (single, double) in doses.items():
        pair = Medians([single, double], resamples=resamples, seed=seed, left_out=left_out)
        estimates += pair.contrast(f"float64_over_float32_rho_{rho:g}", _RATIO.format(rho), lambda m: m[:, 1] / m[:, 0])
        estimates.append(_bound(rho, single, double, by_run, left_out))
        for dtype, cell in zip(DTYPES, (single, double), strict=True):
            alone = Medians([cell], resamples=resamples, seed=seed, left_out=left_out)
            estimates += [_share(rho, dtype, cell, left_out), _rate(rho, dtype, alone, by_run["softmax_collapse_max"])]
    return tuple(estimates)


def _doses(families: Mapping[str, Sequence[Cell]]) -> tuple[dict[float, tuple[Cell, Cell]], tuple[str, ...]]:
    """The cells of both precisions by dose, and a sentence for each dose that both have and that is not compared."""
    single, double = (
        {
            c.rho: c
            for c in families.get(dtype, ())
            if c.arm == "clamp" and c.rho is not None and c.tau == 1.0 and not c.superseded and c.n_counted
        }
        for dtype in DTYPES
    )
    both = {rho: (single[rho], double[rho]) for rho in sorted(single.keys() & double.keys())}
    why = {rho: _not_comparable(*pair) for rho, pair in both.items()}
    return (
        {rho: pair for rho, pair in both.items() if not why[rho]},
        tuple(f"rho {rho:g}, tau 1: {text}" for rho, text in why.items() if text),
    )


def _not_comparable(single: Cell, double: Cell) -> str:
    """Why two cells of one dose are not compared, or empty."""
    if single.held_norm is None or double.held_norm is None:
        return "w_c is unknown in one precision, so equal norms cannot be told"
    if np.isclose(single.held_norm, double.held_norm, rtol=1e-6):
        return ""
    return f"the held norm differs ({single.held_norm:.6g} in float32, {double.held_norm:.6g} in float64)"


def _bound(rho: float, single: Cell, double: Cell, by_run: pd.DataFrame, left_out: tuple[str, ...]) -> Estimate:
    name, method = f"float64_over_float32_at_least_rho_{rho:g}", _BOUND.format(rho)
    facts = by_run.loc[[r.run_id for r in double.runs], ["outcome", "grokked_step", "steps_run", "max_steps"]]
    kept = facts[facts["outcome"] != "diverged"]
    ends = kept["grokked_step"].fillna(kept["steps_run"]).fillna(kept["max_steps"])
    n_diverged, n_endless = len(facts) - len(kept), int(ends.isna().sum())
    n_runs = single.n_counted + len(kept)
    if n_diverged:
        left_out = (f"{n_diverged} float64 runs that diverged, whose last step bounds nothing", *left_out)
    reason = ""
    if double.grokked_step.value is not None:
        reason = "float64 has a median, so the ratio itself is given"
    elif single.grokked_step.value is None:
        reason = "float32 has no median"
    elif kept.empty:
        reason = "every float64 run diverged, so none bounds the median"
    elif n_endless:
        reason = f"{n_endless} float64 runs that did not grok have neither steps_run nor max_steps"
    if reason or single.grokked_step.value is None:
        return absent(name, "1", method, reason, n_runs=n_runs, n_cells=2, left_out=left_out)
    return Estimate(
        name,
        float(ends.median()) / single.grokked_step.value,
        "1",
        method,
        n_runs=n_runs,
        n_cells=2,
        left_out=left_out,
        interval_reason="it is itself a lower bound",
    )


def _share(rho: float, dtype: str, cell: Cell, left_out: tuple[str, ...]) -> Estimate:
    low, high = proportion_confint(cell.n_grokked, cell.n_counted, method="beta")
    return Estimate(
        f"grokked_share_{dtype}_rho_{rho:g}",
        cell.n_grokked / cell.n_counted,
        "1",
        f"{_GROKKED.format(dtype, rho)} Interval: Clopper–Pearson.",
        interval=(float(low), float(high)),
        n_runs=cell.n_counted,
        n_cells=1,
        left_out=left_out,
    )


def _rate(rho: float, dtype: str, medians: Medians, collapse: pd.Series) -> Estimate:
    (cell,) = medians.cells
    ordered = sorted(cell.runs, key=lambda r: math.inf if r.seed is None else r.seed)
    rates = np.array([[collapse[r.run_id]] for r in ordered], dtype=np.float64)
    return medians.of_seeds(
        f"softmax_collapse_{dtype}_rho_{rho:g}",
        _RATE.format(dtype, rho),
        lambda lists: resampled_means(rates, lists)[:, 0],
        used=~np.isnan(rates),
        lacking="without softmax_collapse_max",
    )
