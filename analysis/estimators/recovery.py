"""How much of the slow-down of a raised norm disappears when the temperature takes the logit scale back.

The recovery fraction of arXiv:2606.18465: (T1 - T2) / (T1 - T0), with T0 at (rho 1, tau 1), T1 at (raised rho, tau 1)
and T2 at the raised rho and the tau at which L equals the baseline's. T2 is interpolated linearly in T, which gives the
published 0.83 (p = 59) and 0.89 (p = 97); in ln T it would be 0.84 and 0.89. Nothing is extrapolated: where no measured
tau brackets the baseline's L, or L crosses it more than once, there is no value.

The paper holds L at its full-sample value in the bootstrap, as if it were known. Here L is drawn anew too, and under
convention `runs` it is the L of each run at its own grokking step: the interval then has the error of L in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grok_sweeps.analysis.estimate import Estimate, absent, named
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, SeedTable, resampled_means, seed_table
from grok_sweeps.analysis.methods.convention import (
    PAPER,
    RUNS,
    grokked_steps,
    is_logged,
    mean_scales,
    median_steps,
    not_grokked,
    scale_sentence,
    unread,
    unscaled,
)
from grok_sweeps.analysis.methods.resampled import Kind, Seeds, Statistic, estimated, seeds_of
from grok_sweeps.analysis.table.cells import Cell

RHO_UP = 1.15
"""The paper's raised dose, taken where the sweep has it."""

_NAME = "recovery_fraction"
_METHOD = (
    "(T1 − T2) / (T1 − T0) of median grokked_step over the seeds that grokked: "
    "T0 at rho 1, tau 1; T1 at rho {up:g}, tau 1; T2 at rho {up:g} where "
    "the mean L, piecewise linear in tau, equals the baseline's; T is interpolated linearly between the two "
    "neighbouring tau cells (linear in T, not in ln T: this gives the published values). No extrapolation. "
    "Resamples are paired across cells."
)
_OWN = "L is the mean over seeds of logit_scale_at_grok"
_FIXED, _DRAWN = "L held at its full-sample value.", "L computed anew in each resample."


@dataclass(frozen=True, slots=True)
class Recovery:
    """The recovery fraction as published (`paper`: plain percentile, L held), and by every other choice.

    Names of `variants`: recovery_fraction_{paper|runs}_{fixed|drawn}_{percentile|bca}; `difference` is convention runs
    minus convention paper, both with L drawn anew. `cells` are those used: the baseline, then the raised dose by tau.
    """

    paper: Estimate
    variants: tuple[Estimate, ...]
    difference: Estimate
    cells: tuple[Cell, ...]

    def __getitem__(self, name: str) -> Estimate:
        return named((self.paper, *self.variants, self.difference), name)


def recoveries(cells: Sequence[Cell], *, loss: str | None, resamples: int, seed: int) -> Recovery:
    """Recovery fraction by both conventions, L held and drawn anew, percentile and BCa."""
    design = _design(cells, loss)
    method = _METHOD.format(up=design.up or RHO_UP)
    table = seed_table(design.cells)
    seeds = seeds_of(table, resamples, seed)
    n_runs, n_cells = sum(c.n_grokked for c in design.cells), len(design.cells)
    left_out = (*design.left_out, *not_grokked(design.cells))
    lacking = {PAPER: unscaled(table), RUNS: unread("L at grokking", table.logit_scale, grokked_steps(table))}

    def estimate(
        name: str, by: tuple[str, ...], statistic: Statistic, how: str, undefined: str, kind: Kind = Kind.EXPANDED
    ) -> Estimate:
        text = f"{method} {how}"
        if undefined:
            return absent(name, "1", text, undefined, n_runs=n_runs, n_cells=n_cells, left_out=left_out)
        return estimated(
            name,
            "1",
            text,
            statistic,
            seeds,
            undefined="T1 is not above T0, or L is missing in a cell",
            kind=kind,
            n_runs=n_runs,
            n_cells=n_cells,
            left_out=(*left_out, *(sentence for convention in by for sentence in lacking[convention])),
        )

    choices = [(c, d) for c in (PAPER, RUNS) for d in (False, True)]
    statistics = {(c, d): _statistic(table, seeds, c, drawn=d) for c, d in choices}
    reasons = {c: design.reason or _reason(table, seeds, c, design.up) for c in (PAPER, RUNS)}
    sentence = {PAPER: scale_sentence(table), RUNS: _OWN}
    variants = tuple(
        estimate(
            f"{_NAME}_{c}_{'drawn' if d else 'fixed'}_{label}",
            (c,),
            statistics[c, d],
            f"{sentence[c]}. {_DRAWN if d else _FIXED}",
            reasons[c],
            kind=kind,
        )
        for c, d in choices
        for label, kind in (("percentile", Kind.EXPANDED), ("bca", Kind.BCA))
    )
    return Recovery(
        estimate(
            _NAME, (PAPER,), statistics[PAPER, False], f"{sentence[PAPER]}. {_FIXED}", reasons[PAPER], Kind.PUBLISHED
        ),
        variants,
        estimate(
            f"{_NAME}_runs_minus_paper",
            (PAPER, RUNS),
            lambda lists: statistics[RUNS, True](lists) - statistics[PAPER, True](lists),
            f"Convention runs minus convention paper. {_DRAWN}",
            reasons[PAPER]
            or reasons[RUNS]
            or ("" if is_logged(table) else "there is no L over time, so both conventions have the same L"),
            Kind.BASIC,
        ),
        design.cells,
    )


@dataclass(frozen=True, slots=True)
class _Design:
    """The cells that are used, baseline first, then the raised dose by tau; or the reason why there are none."""

    cells: tuple[Cell, ...]
    up: float | None
    reason: str = ""
    left_out: tuple[str, ...] = ()


def _design(cells: Sequence[Cell], loss: str | None) -> _Design:
    held = [c for c in cells if c.arm == "clamp" and c.rho is not None and not c.superseded]
    up = _raised_dose(held)
    baseline = next((c for c in held if c.rho == 1.0 and c.tau == 1.0), None)
    raised = sorted((c for c in held if c.rho == up), key=lambda c: c.tau)
    some = tuple(c for c in (baseline, *raised) if c is not None)
    if loss is not None and loss != "ce":
        why = f"not defined under loss {loss}: the logit scale stays put there, so none is to be recovered"
        return _Design(some, up, why)
    if baseline is None:
        return _Design(some, up, "there is no cell at rho 1, tau 1 (the baseline T0)")
    if up is None:
        return _Design(some, up, "there is no rho above 1 that has tau 1 and another tau (T1 and T2)")
    if _lacks(baseline):
        return _Design(some, up, f"the baseline has no T or L: {_lacks(baseline)}")
    known = tuple(c for c in raised if not _lacks(c))
    left_out = tuple(f"{c.label}: {_lacks(c)}" for c in raised if c not in known)
    if not known or known[0].tau != 1.0:
        first = next(c for c in raised if c.tau == 1.0)
        return _Design(some, up, f"the cell at rho {up:g}, tau 1 has no T or L: {_lacks(first)}", left_out)
    return _Design((baseline, *known), up, "", left_out)


def _lacks(cell: Cell) -> str:
    has_scale = any(r.logged_scale is not None for r in cell.runs)
    return cell.grokked_step.reason or ("" if has_scale else cell.logit_scale.reason)


def _raised_dose(held: Sequence[Cell]) -> float | None:
    taus: dict[float, set[float]] = {}
    for cell in held:
        if cell.rho is not None and cell.rho > 1.0:
            taus.setdefault(cell.rho, set()).add(cell.tau)
    fit = [rho for rho, of in taus.items() if 1.0 in of and len(of) > 1]
    return RHO_UP if RHO_UP in fit else max(fit, default=None)


def _scales(table: SeedTable, convention: str, lists: Ints) -> Floats:
    return mean_scales(table, lists) if convention == PAPER else resampled_means(table.logit_scale, lists)


def _statistic(table: SeedTable, seeds: Seeds, convention: str, *, drawn: bool) -> Statistic:
    def fraction(lists: Ints) -> Floats:
        steps = median_steps(table, lists)
        scales = _scales(table, convention, lists if drawn else seeds.whole)
        weights, places = crossing(scales[:, 1:], scales[:, :1])
        baseline, raised = steps[:, 0], steps[:, 1]
        matched = (np.where(weights > 0, steps[:, 1:], 0.0) * weights).sum(axis=1)
        # Where a resample is not slowed by the raised norm there is nothing to recover; MIN_SHARE bounds how many drop.
        slowed = (raised > baseline) & (places == 1)
        return np.where(slowed, (raised - matched) / np.where(slowed, raised - baseline, 1.0), np.nan)

    return fraction


def crossing(scales: Floats, level: Floats) -> tuple[Floats, Ints]:
    """Weights [B, K] of the tau cells where L(tau) [B, K] equals the level [B, 1], and at how many places [B] it does.

    L is piecewise linear; of several places the weights are those of the last.
    """
    left, right = scales[:, :-1], scales[:, 1:]
    within = (np.minimum(left, right) <= level) & (level <= np.maximum(left, right)) & (left != right)
    share = np.where(within, (level - left) / np.where(within, right - left, 1.0), 0.0)
    weights = np.zeros_like(scales)
    for i in range(left.shape[1]):
        here = within[:, i]
        weights[here] = 0.0
        weights[here, i], weights[here, i + 1] = 1 - share[here, i], share[here, i]
    at_node = within[:, :-1] & within[:, 1:] & (scales[:, 1:-1] == level)
    return weights, within.sum(axis=1) - at_node.sum(axis=1)


def _reason(table: SeedTable, seeds: Seeds, convention: str, up: float | None) -> str:
    """Why the full sample has no value, or empty."""
    scales = _scales(table, convention, seeds.whole)[0]
    if np.isnan(scales).any():
        return "not every cell has a run with logit_scale_at_grok"
    steps = median_steps(table, seeds.whole)[0]
    level, over_tau = scales[0], scales[1:]
    places = int(crossing(scales[None, 1:], scales[None, :1])[1][0])
    at = f"at rho {up:g}, L over tau"
    if places < 1:
        between = f"{over_tau.min():.4g} to {over_tau.max():.4g}"
        return f"{at} ({between}) does not bracket L of the baseline (L at the baseline: {level:.4g})"
    if places > 1:
        return f"{at} equals L of the baseline at {places} places, so T2 is ambiguous (L there: {level:.4g})"
    return "" if steps[1] > steps[0] else "T1 is not above T0: the raised norm did not slow grokking"
