"""Our runs beside the paper's: one frame a sweep, one row a pair of runs, and what each cell's pairs say.

Columns of a matched frame: the cell's keys, `seed`, and `ours` and `theirs` (grokking steps, infinite where a run did
not grok within its budget), `ours_memorized` and `theirs_memorized`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

EVAL_EVERY = 25
SHORT = 6000
"""Grokking steps up to which equality is asked; beyond, rounding has had time to grow."""

KEYS = ["p", "loss", "arm", "rho", "tau", "gamma"]
_ARMS = {"none": "free", "alloc": "allocation", "clamp_same": "fork", "clamp_raised": "fork", "clamp_lowered": "fork"}
_FORK_DOSES = {"clamp_same": 1.0, "clamp_raised": 1.15, "clamp_lowered": 1 / 1.15}


def reference_runs(path: str, experiment: str, loss: str | None = None) -> pd.DataFrame:
    """The paper's runs of one experiment under our names; `-1` is a run that did not grok."""
    table = pd.read_csv(path)
    table = table[table.experiment == experiment].copy()
    if loss is not None:
        table = table[table.loss == loss]
    dose = table.arm.map(_FORK_DOSES)
    table["rho"] = dose.where(dose.notna(), table.rho)
    table["arm"] = table.arm.map(_ARMS).fillna(table.arm)
    table.loc[table.arm == "free", "rho"] = np.nan
    table["gamma"] = table.gamma.where(table.arm == "allocation")
    table = table.rename(columns={"grokked_step": "theirs", "memorized_step": "theirs_memorized"})
    for name in ("theirs", "theirs_memorized"):
        table[name] = table[name].where(table[name] > 0, np.inf).astype(float)
    # The paper's file lists the mse baseline a second time as a control.
    return table.drop_duplicates([*KEYS, "seed"])[[*KEYS, "seed", "theirs", "theirs_memorized"]]


def our_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Our runs with steps as numbers, infinite where not reached; parents of forks are left out."""
    table = runs[~((runs.stop == "budget") & (runs.outcome == "censored"))].copy()
    table["gamma"] = pd.to_numeric(table.gamma)
    for name, column in (("ours", "grokked_step"), ("ours_memorized", "memorized_step")):
        table[name] = pd.to_numeric(table[column]).fillna(np.inf).astype(float)
    return table


def matched(runs: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Pairs of runs of equal cell and seed."""
    ours, theirs = our_runs(runs), reference.copy()
    for table in (ours, theirs):
        for name in ("rho", "tau", "gamma"):
            table[name] = table[name].astype(float).round(6)
    return ours.merge(theirs, on=[*KEYS, "seed"], how="inner")


def difference(pairs: pd.DataFrame) -> pd.Series:
    """Ours minus theirs in steps; 0 where neither grokked, infinite where one did."""
    both = np.isinf(pairs.ours) & np.isinf(pairs.theirs)
    return pd.Series(np.where(both, 0.0, pairs.ours.where(~both, 0) - pairs.theirs.where(~both, 0)), index=pairs.index)


def within_target(pairs: pd.DataFrame) -> pd.Series:
    """Whether each pair is as close as asked.

    Equal to the step up to `SHORT`, within 0.5 % beyond; allocation within one reading or 1 %.
    """
    off = difference(pairs).abs()
    allocated = pairs.arm == "allocation"
    loose = np.maximum(float(EVAL_EVERY), 0.01 * pairs.theirs.where(np.isfinite(pairs.theirs), 0))
    strict = np.where(pairs.theirs <= SHORT, 0.0, 0.005 * pairs.theirs.where(np.isfinite(pairs.theirs), 0))
    return off <= np.where(allocated, loose, strict)


@dataclass(frozen=True)
class TwoSamples:
    """Two-sided tests of two sets of grokking steps; runs that did not grok rank above every number."""

    n_ours: int
    n_theirs: int
    mann_whitney_u: float
    mann_whitney_p: float
    kolmogorov_smirnov_d: float
    kolmogorov_smirnov_p: float


def two_samples(ours: np.ndarray, theirs: np.ndarray) -> TwoSamples:
    """Mann–Whitney U and Kolmogorov–Smirnov D with exact p values where there are no ties."""
    finite = np.concatenate([ours, theirs])
    above = np.max(finite[np.isfinite(finite)], initial=0.0) + 1
    a, b = (np.where(np.isfinite(x), x, above) for x in (ours, theirs))
    u = stats.mannwhitneyu(a, b, alternative="two-sided")
    d = stats.ks_2samp(a, b)
    return TwoSamples(len(a), len(b), float(u.statistic), float(u.pvalue), float(d.statistic), float(d.pvalue))


def paired_ratio(
    raised: np.ndarray, same: np.ndarray, resamples: int = 4000, seed: int = 0
) -> tuple[float, float, float]:
    """Ratio of median delays and its 95 % percentile interval from a bootstrap over seeds, the same for both arms."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(raised), (resamples, len(raised)))
    ratios = np.median(raised[draws], axis=1) / np.median(same[draws], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(raised) / np.median(same)), float(low), float(high)
