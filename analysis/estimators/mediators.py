"""Is it L, or another quantity that the dose moves? Gradient, update, turn angle, pre-activation scale against L.

Each is read where L is read and takes its logarithm. For every rival: the partial R² in ln T of the rival given L and
of L given the rival, over the rows that have both; for all together: the Shapley (LMG) share of R², over the rows that
have all of those that nearly every run has. A share is a description: the readings are outcomes of one run (endogenous,
as L is), strongly correlated, and an R² that cannot be told apart is split evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pandas as pd

from grok_sweeps.analysis.estimate import Estimate, Named
from grok_sweeps.analysis.methods.bootstrap import Floats, aligned
from grok_sweeps.analysis.methods.convention import (
    LOGGED_READINGS,
    MINUS,
    PAPER,
    PAPER_T,
    RUNS,
    RUNS_READINGS,
    InBoth,
    usable,
)
from grok_sweeps.analysis.methods.products import covariance
from grok_sweeps.analysis.methods.resampled import Kind, runs_minus_paper
from grok_sweeps.analysis.methods.samples import Readings, Sample, Samples
from grok_sweeps.analysis.methods.shares import lmg, r_squared_of_subsets
from grok_sweeps.analysis.table.cells import RIVALS, Cell, RunPoint

SCALE = "logit_scale"
NEARLY_ALL = 0.9
"""Least share of the runs with L that must have a rival for it to be among all: a row needs every regressor."""

_ROWS = {RUNS: f"Convention runs: {RUNS_READINGS}.", PAPER: f"Convention paper: {PAPER_T}, {LOGGED_READINGS}."}
_RULE = (
    f"A rival that fewer than {NEARLY_ALL:.0%} of the runs with L have is not among them, since every row needs all."
)


@dataclass(frozen=True, slots=True)
class MediatorFit(Named):
    """One convention: `partial_r2_<rival>_given_logit_scale` and the reverse, `r2_all`, `lmg_share_<regressor>`."""

    convention: str
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Mediators(InBoth):
    """Competing mediators in both conventions."""

    runs: MediatorFit
    paper: MediatorFit
    differences: tuple[Estimate, ...]


@dataclass(frozen=True, eq=False)
class _Quantity:
    """One estimate, what it is in words, and its resamples [B] of so many seeds (None where there are none).

    `among` are the regressors that R² is split among, where each convention has its own.
    """

    estimate: Estimate
    drawn: Floats | None
    sentence: str
    n_seeds: int
    among: tuple[str, ...] = ()


def mediators(cells: Sequence[Cell], rows: pd.DataFrame, *, resamples: int, seed: int) -> Mediators:
    """Partial R² of each rival and L given the other, and LMG shares, over the clamp cells of one family.

    `rows` are the family's clean runs with a column `<rival>_at_grok` for each rival that is known.
    """
    used, left_out = usable(cells)
    samples = Samples(used, [()] * len(used), resamples=resamples, seed=seed, left_out=left_out)
    runs, paper = (_fit(samples, c, _readings(samples, c, rows)) for c in (RUNS, PAPER))
    return Mediators(
        MediatorFit(RUNS, tuple(q.estimate for q in runs)),
        MediatorFit(PAPER, tuple(q.estimate for q in paper)),
        tuple(_difference(*pair) for pair in zip(runs, paper, strict=True)),
    )


def _readings(samples: Samples, convention: str, rows: pd.DataFrame) -> Readings:
    """L and every rival by seed and cell, [S, C]."""
    if convention == PAPER:
        scale, of = samples.table.logged_scale, [_at_logged(rival) for rival in RIVALS]
    else:
        scale, of = samples.table.logit_scale, [_at_grok(rival, rows) for rival in RIVALS]
    return {SCALE: scale} | {rival: aligned(samples.cells, read) for rival, read in zip(RIVALS, of, strict=True)}


def _at_logged(rival: str) -> Callable[[RunPoint], float | None]:
    return lambda run: run.logged_rivals.get(rival)


def _at_grok(rival: str, rows: pd.DataFrame) -> Callable[[RunPoint], float | None]:
    column = f"{rival}_at_grok"
    found = dict(zip(rows["run_id"], rows[column].to_numpy(dtype=np.float64), strict=True)) if column in rows else {}
    return lambda run: found.get(run.run_id)


def _fit(samples: Samples, convention: str, readings: Readings) -> list[_Quantity]:
    has_scale = readings[SCALE] > 0
    if convention == RUNS:
        has_scale &= ~np.isnan(samples.steps)
    n_all = int(has_scale.sum())
    n_read = {name: int((has_scale & (values > 0)).sum()) for name, values in readings.items()}
    never = {name: _never(name, convention) if n == 0 else "" for name, n in n_read.items()}
    pairs = (
        _pair(samples.of(convention, {n: readings[n] for n in (SCALE, rival)}), rival, never[SCALE] or never[rival])
        for rival in RIVALS
    )
    few = {
        name: never[SCALE] or never[name] or f"{name} was read in {n} of {n_all} runs, too few to be among all"
        for name, n in n_read.items()
        if never[SCALE] or never[name] or n < NEARLY_ALL * n_all
    }
    kept = [name for name in readings if name not in few]
    sample = samples.of(convention, {name: readings[name] for name in kept or [SCALE]})
    unread = tuple(
        f"{name}, which was read in {n_read[name]} of {n_all} runs" for name in few if n_all and name != SCALE
    )
    together = _together(replace(sample, left_out=(*sample.left_out, *unread)), kept, few)
    return [*chain.from_iterable(pairs), *(replace(q, among=tuple(kept)) for q in together)]


def _never(name: str, convention: str) -> str:
    return f"no run has {name}_at_grok" if convention == RUNS else f"no cell has {name} over time"


def _pair(sample: Sample, rival: str, reason: str) -> Iterator[_Quantity]:
    """Partial R² of the rival given L, and of L given the rival."""
    reason = reason or _problem(sample, 2)
    if reason:
        sample = sample.without_resamples()
    full = None if reason else r_squared_of_subsets(covariance(sample.columns))
    drawn = None if sample.resampled is None else r_squared_of_subsets(sample.resampled)
    for name, given in ((rival, SCALE), (SCALE, rival)):
        at = 0 if given == SCALE else 1
        l_or = "L" if given == SCALE else rival
        sentence = f"(R²(L, {rival}) − R²({l_or})) / (1 − R²({l_or}))."
        yield _quantity(
            sample,
            f"partial_r2_{name}_given_{given}",
            sentence,
            None if full is None else _partial(full, at),
            None if drawn is None else _partial(drawn, at),
            Kind.R2,
            reason,
        )


def _partial(of: Mapping[tuple[int, ...], Floats], given: int) -> Floats:
    """Share of what one of two regressors leaves unexplained that the other explains."""
    left = 1 - of[given,]
    return np.where(left > 1e-12, (of[0, 1] - of[given,]) / np.where(left > 1e-12, left, 1.0), np.nan)


def _together(sample: Sample, names: Sequence[str], few: Mapping[str, str]) -> Iterator[_Quantity]:
    """R² on all of `names`, and what share of it falls to each; `few` are the reasons of those not among them."""
    alone = few.get(SCALE, "") or ("no rival was read in nearly all runs that have L" if len(names) < 2 else "")
    problem = alone or _problem(sample, len(names))
    if problem:
        sample = sample.without_resamples()
    full = None if problem else lmg(r_squared_of_subsets(covariance(sample.columns)))
    drawn = None if sample.resampled is None else lmg(r_squared_of_subsets(sample.resampled))
    total, totals = (None if parts is None else parts.sum(axis=-1) for parts in (full, drawn))
    yield _quantity(sample, "r2_all", f"R² on {', '.join(names)}. {_RULE}", total, totals, Kind.R2, problem)
    for name in (SCALE, *RIVALS):
        sentence = (
            f"Shapley (LMG) share of {name} in r2_all: mean over all orders of entry of the R² it adds, over r2_all. "
            f"{_RULE}"
        )
        reason = few.get(name, "") or problem
        share, shares = (
            None if reason or parts is None else _share(parts, names.index(name)) for parts in (full, drawn)
        )
        yield _quantity(sample, f"lmg_share_{name}", sentence, share, shares, Kind.SHARE, reason)


def _share(parts: Floats, regressor: int) -> Floats:
    """Part of one regressor over the sum of all, [...]."""
    total = parts.sum(axis=-1)
    return np.where(total > 0, parts[..., regressor] / np.where(total > 0, total, 1.0), np.nan)


def _quantity(
    sample: Sample, name: str, sentence: str, value: Floats | None, drawn: Floats | None, kind: Kind, reason: str
) -> _Quantity:
    at = np.nan if value is None else float(value)
    reason = reason or ("" if np.isfinite(at) else "its regressors are collinear, or one is constant")
    method = f"{sentence} ln T on logarithms, ordinary least squares. {_ROWS[sample.convention]} {kind}"
    return _Quantity(sample.estimate(name, "1", method, at, drawn, kind, reason), drawn, sentence, sample.n_seeds)


def _difference(runs: _Quantity, paper: _Quantity) -> Estimate:
    pair = (runs.estimate, runs.drawn), (paper.estimate, paper.drawn)
    name, n_seeds = runs.estimate.name + MINUS, min(runs.n_seeds, paper.n_seeds)
    by_runs, by_paper = (", ".join(one.among) for one in (runs, paper))
    apart = "" if by_runs == by_paper else f"R² is split among other regressors: by runs {by_runs}, by paper {by_paper}"
    return runs_minus_paper(name, runs.sentence, *pair, n_seeds, apart)


def _problem(sample: Sample, n_regressors: int) -> str:
    n, needed = len(sample.columns), n_regressors + 3
    if n < needed:
        return f"usable rows: {n}, at least {needed} are needed for {n_regressors} regressors"
    return "grokked_step is the same in all rows" if np.ptp(sample.columns[:, -1]) <= 1e-9 else ""
