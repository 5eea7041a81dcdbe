"""Do cells of different dose that have the same L grok at the same step? Two one-sided tests (Schuirmann 1987).

If the norm acts through L alone, they do. A difference that is not significant is no equality, so the null here is that
they differ: T of one is at least MARGIN times that of the other. The margin, a factor of 1.25, is that of
bioequivalence; it is a convention, chosen before the data, and the interval lets a reader choose another.

Pairs: among usable cells of different rho, those whose mean L differs by at most L_APART; nearest first, each cell in
one pair only, so that pairs do not repeat a cell. L still differs within a pair by up to L_APART, which by itself moves
T (about 12 % of T a unit of L in the paper's cells): so the ratio that this alone gives is stated with each pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import t as t_distribution
from statsmodels.stats.weightstats import DescrStatsW

from grok_sweeps.analysis.estimate import Estimate, Named, absent
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, seed_table
from grok_sweeps.analysis.methods.convention import (
    mean_scales,
    median_steps,
    not_grokked,
    scale_sentence,
    unscaled,
    usable,
)
from grok_sweeps.analysis.methods.regression import least_squares
from grok_sweeps.analysis.methods.resampled import estimated, seeds_of
from grok_sweeps.analysis.table.cells import Cell

MARGIN = math.log(1.25)
"""Largest |ln T ratio| that counts as equal."""
L_APART = 0.05
"""Largest |ln L ratio| of a pair."""
ALPHA = 0.05
LEVEL_TOST = 1 - 2 * ALPHA
"""The test at ALPHA is the interval of this level lying within the margin."""
MIN_PAIRED = 3

_TEST = (
    "Mean over seeds of ln(T of the cell of higher rho) − ln(T of the other), paired by seed, each run's grokked_step; "
    f"t interval of level {LEVEL_TOST:g}. Equivalent where it lies within ±ln 1.25 = ±{MARGIN:.3f}."
)
_P = (
    f"p value of two one-sided paired t tests against a factor of 1.25 (±{MARGIN:.3f} in ln T); small means equivalent."
)
_MEDIANS = "ln of the ratio of median grokked_step, higher rho over lower rho, over the seeds that grokked."
_EXPECTED = "ln T ratio that the pair's remaining difference in L gives, by the slope of ln T on L over usable cells."


@dataclass(frozen=True, slots=True)
class Pair(Named):
    """Two cells of nearly equal L: `higher` is the one of higher rho. `equivalent` is None where there is no test.

    `estimates`: ln_ratio (runs), p_equivalence (runs), ln_ratio_medians (paper), ln_ratio_expected_from_logit_scale.
    """

    higher: Cell
    lower: Cell
    estimates: tuple[Estimate, ...]
    equivalent: bool | None

    @property
    def label(self) -> str:
        """Both cells by dose and temperature."""
        return f"{self.higher.label} against {self.lower.label}"


@dataclass(frozen=True, slots=True)
class Equivalence:
    """All pairs, nearest L first; `p_all` tests that every pair is equivalent."""

    pairs: tuple[Pair, ...]
    p_all: Estimate


def equivalence(cells: Sequence[Cell], *, resamples: int, seed: int) -> Equivalence:
    """Test pairs of cells at nearly equal L and different rho for equal grokking steps."""
    used, left_out = usable(cells)
    table = seed_table(used)
    whole = np.arange(len(table))[None]
    scales = mean_scales(table, whole)[0] if used else np.empty(0)
    y = np.log(median_steps(table, whole)[0]) if used else np.empty(0)
    known = len(used) > 2 and bool(np.isfinite(scales).all())
    slope = float(least_squares(y, scales, np.zeros_like(scales)).slope_a) if known else np.nan
    matched = _matched(used, scales)
    pairs = tuple(
        _pair(used[i], used[j], float(scales[i]), float(scales[j]), slope, unscaled(table, (i, j)), resamples, seed)
        for i, j in matched
    )
    method = (
        f"Largest p over the pairs (intersection–union test: all are equivalent, no correction needed). {_P} "
        f"Pairs: different rho, L at most {L_APART:.0%} apart, nearest first, each cell once; {scale_sentence(table)}."
    )
    reason = "" if pairs else f"no two usable cells of different rho have L within {L_APART:.0%}"
    tests = [p["p_equivalence"] for p in pairs]
    p_values = [e.value for e in tests if e.value is not None]
    n_runs, n_cells, untested = sum(e.n_runs for e in tests), 2 * len(pairs), len(tests) - len(p_values)
    left_out = (*left_out, *unscaled(table, [place for pair in matched for place in pair]))
    why = reason or (f"{untested} of {len(tests)} pairs have no test" if untested else "")
    p_all = (
        absent("p_all_equivalent", "1", method, why, n_runs=n_runs, n_cells=n_cells, left_out=left_out)
        if why
        else Estimate(
            "p_all_equivalent",
            max(p_values),
            "1",
            method,
            n_runs=n_runs,
            n_cells=n_cells,
            left_out=left_out,
            interval_reason="a p value has no interval",
        )
    )
    return Equivalence(pairs, p_all)


def tost(differences: Floats, margin: float = MARGIN) -> tuple[float, tuple[float, float], float]:
    """Mean, interval of LEVEL_TOST and p value of two one-sided t tests of differences [n]; n above 1, not constant."""
    sample = DescrStatsW(differences)
    p, _, _ = sample.ttost_mean(-margin, margin)
    reach = float(t_distribution.ppf(1 - ALPHA, sample.nobs - 1) * sample.std_mean)
    return float(sample.mean), (float(sample.mean) - reach, float(sample.mean) + reach), float(p)


def _matched(used: Sequence[Cell], scales: Floats) -> list[tuple[int, int]]:
    """Places (higher rho, lower rho) of the pairs, nearest L first."""
    near = []
    for i, j in combinations(range(len(used)), 2):
        one, other = used[i].rho or 0.0, used[j].rho or 0.0
        if one != other and scales[i] > 0 and scales[j] > 0:
            apart = abs(math.log(scales[i] / scales[j]))
            if apart <= L_APART:
                near.append((apart, (i, j) if one > other else (j, i)))
    taken: set[int] = set()
    pairs = []
    for _, pair in sorted(near):
        if not taken & set(pair):
            taken |= set(pair)
            pairs.append(pair)
    return pairs


def _pair(
    higher: Cell,
    lower: Cell,
    scale_high: float,
    scale_low: float,
    slope: float,
    lacking: tuple[str, ...],
    resamples: int,
    seed: int,
) -> Pair:
    table = seed_table([higher, lower])
    n_runs, seeds = higher.n_counted + lower.n_counted, seeds_of(table, resamples, seed)
    differences = np.log(table.grokked_step[:, 0]) - np.log(table.grokked_step[:, 1])
    why = table.problem or _no_test(table.grokked_step)
    differences = differences[np.isfinite(differences)]
    names = (("ln_ratio", _TEST, "ln step"), ("p_equivalence", _P, "1"))
    if why:
        tests = [absent(n, u, m, why, n_runs=n_runs, n_cells=2) for n, m, u in names]
    else:
        mean, interval, p = tost(differences)
        n = 2 * len(differences)
        tests = [
            Estimate("ln_ratio", mean, "ln step", _TEST, interval=interval, level=LEVEL_TOST, n_runs=n, n_cells=2),
            Estimate("p_equivalence", p, "1", _P, n_runs=n, n_cells=2, interval_reason="a p value has no interval"),
        ]

    def medians(lists: Ints) -> Floats:
        middle = np.log(median_steps(table, lists))
        return np.asarray(middle[:, 0] - middle[:, 1])

    by_medians = estimated(
        "ln_ratio_medians",
        "ln step",
        _MEDIANS,
        medians,
        seeds,
        undefined="a cell has no median",
        level=LEVEL_TOST,
        n_runs=higher.n_grokked + lower.n_grokked,
        n_cells=2,
        left_out=not_grokked((higher, lower)),
    )
    name = "ln_ratio_expected_from_logit_scale"
    expected = (
        Estimate(
            name,
            slope * (scale_high - scale_low),
            "ln step",
            _EXPECTED,
            n_runs=n_runs,
            n_cells=2,
            left_out=lacking,
            interval_reason="a correction to set beside the ratio: the slope is held at its full-sample value",
        )
        if math.isfinite(slope)
        else absent(name, "ln step", _EXPECTED, "the slope of ln T on L is not known", n_runs=n_runs, n_cells=2)
    )
    equivalent = None if tests[1].value is None else tests[1].value < ALPHA
    return Pair(higher, lower, (*tests, by_medians, expected), equivalent)


def _no_test(steps: Floats) -> str:
    """Why the runs [S, 2] have no paired test, or empty."""
    both = ~np.isnan(steps).any(axis=1)
    censored = int(np.isinf(steps).any(axis=1).sum())
    if censored:
        return f"{censored} seeds did not grok in one of the cells, so their ratio is not known"
    if both.sum() < MIN_PAIRED:
        return f"seeds in both cells: {int(both.sum())}, at least {MIN_PAIRED} are needed"
    ratio = np.log(steps[both, 0] / steps[both, 1])
    return "the ratio is the same for every seed, so its spread is not known" if np.ptp(ratio) < 1e-12 else ""
