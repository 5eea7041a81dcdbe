"""How much of the slow-down of a raised norm disappears when the temperature takes the logit scale back.

The recovery fraction of arXiv:2606.18465: (T1 - T2) / (T1 - T0), with T0 at (rho 1, tau 1), T1 at (raised rho, tau 1)
and T2 at the raised rho and the tau at which L equals the baseline's. T2 is interpolated linearly in T, which gives the
published 0.83 (p = 59) and 0.89 (p = 97); in ln T it would be 0.84 and 0.89. Nothing is extrapolated: where no measured
tau brackets the baseline's L, or L crosses it more than once, there is no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from analysis.bootstrap import draw, percentile_interval, resampled_medians, seed_table
from analysis.cells import Cell
from analysis.estimate import Estimate, absent

RHO_UP = 1.15
"""The paper's raised dose, taken where the sweep has it."""

_NAME = "recovery_fraction"
_METHOD = (
    "(T1 − T2) / (T1 − T0) of median grokked_step: T0 at rho 1, tau 1; T1 at rho {up:g}, tau 1; T2 at rho {up:g} where "
    "the mean L, piecewise linear in tau, equals the baseline's; T is interpolated linearly between the two "
    "neighbouring tau cells (linear in T, not in ln T: this gives the published values). No extrapolation. "
    "Interval: percentile bootstrap over seeds, paired across cells, L held at its full-sample value."
)


def recovery(cells: Sequence[Cell], *, loss: str | None, resamples: int, seed: int) -> Estimate:
    """Recovery fraction of one family of cells, or the reason why the cells for it do not exist (arXiv:2606.18465)."""
    held = [c for c in cells if c.arm == "clamp" and c.rho is not None and not c.superseded]
    up = _raised_dose(held)
    method = _METHOD.format(up=up or RHO_UP)
    baseline = next((c for c in held if c.rho == 1.0 and c.tau == 1.0), None)
    raised = sorted((c for c in held if c.rho == up), key=lambda c: c.tau)
    used = [c for c in (baseline, *raised) if c is not None]
    n_runs, n_cells = sum(c.n_counted for c in used), len(used)

    def no_value(reason: str) -> Estimate:
        return absent(_NAME, "1", method, reason, n_runs=n_runs, n_cells=n_cells)

    if loss is not None and loss != "ce":
        return no_value(f"not defined under loss {loss}: the logit scale stays put there, so none is to be recovered")
    if baseline is None:
        return no_value("there is no cell at rho 1, tau 1 (the baseline T0)")
    if up is None:
        return no_value("there is no rho above 1 that has tau 1 and another tau (T1 and T2)")
    level = baseline.logit_scale.value
    if baseline.grokked_step.value is None or level is None:
        return no_value(f"the baseline has no T or L: {baseline.grokked_step.reason or baseline.logit_scale.reason}")
    known = [c for c in raised if c.grokked_step.value is not None and c.logit_scale.value is not None]
    left_out = tuple(f"{c.label}: {c.grokked_step.reason or c.logit_scale.reason}" for c in raised if c not in known)
    if not known or known[0].tau != 1.0:
        first = next(c for c in raised if c.tau == 1.0)
        return no_value(f"the cell at rho {up:g}, tau 1 has no T or L: {_reason(first)}")
    weights = _weights([c.logit_scale.value or 0.0 for c in known], level)
    if isinstance(weights, str):
        return no_value(f"at rho {up:g}, {weights} (L at the baseline: {level:.4g})")
    steps = np.array([baseline.grokked_step.value, *(c.grokked_step.value or 0.0 for c in known)])
    if steps[1] <= steps[0]:
        return no_value("T1 is not above T0: the raised norm did not slow grokking, so nothing is to be recovered")
    at = np.array(weights)
    interval, why = _interval((baseline, *known), at, resamples, seed)
    return Estimate(
        _NAME,
        float((steps[1] - at @ steps[1:]) / (steps[1] - steps[0])),
        "1",
        method,
        interval=interval,
        n_runs=n_runs,
        n_cells=n_cells,
        left_out=left_out,
        interval_reason=why,
    )


def _reason(cell: Cell) -> str:
    return cell.grokked_step.reason or cell.logit_scale.reason


def _raised_dose(held: Sequence[Cell]) -> float | None:
    taus: dict[float, set[float]] = {}
    for cell in held:
        if cell.rho is not None and cell.rho > 1.0:
            taus.setdefault(cell.rho, set()).add(cell.tau)
    fit = [rho for rho, of in taus.items() if 1.0 in of and len(of) > 1]
    return RHO_UP if RHO_UP in fit else max(fit, default=None)


def _weights(scales: Sequence[float], level: float) -> list[float] | str:
    """Weight of each tau cell in T2, or why there is none: L(tau) - L0 must change its sign exactly once."""
    weights = [0.0] * len(scales)
    places = set()
    for i, (left, right) in enumerate(pairwise(scales)):
        if left != right and min(left, right) <= level <= max(left, right):
            share = (level - left) / (right - left)
            places.add(i + share)
            weights = [0.0] * len(scales)
            weights[i], weights[i + 1] = 1 - share, share
    if not places:
        return f"L over tau ({min(scales):.4g} to {max(scales):.4g}) does not bracket L of the baseline"
    if len(places) > 1:
        return f"L over tau equals L of the baseline at {len(places)} places, so T2 is ambiguous"
    return weights


def _interval(
    cells: Sequence[Cell], at: np.ndarray, resamples: int, seed: int
) -> tuple[tuple[float, float] | None, str]:
    table = seed_table(cells)
    if table.problem or resamples < 1:
        return None, table.problem or "no resamples were asked for"
    used = np.concatenate([[True, True], at[1:] > 0])
    steps = resampled_medians(table.grokked_step[:, used], draw(len(table.grokked_step), resamples, seed))
    steps[~np.isfinite(steps)] = np.nan
    baseline, raised = steps[:, 0], steps[:, 1]
    matched = steps[:, 1:] @ at[used[1:]]
    slowed = raised > baseline
    # Where a resample is not slowed by the raised norm there is nothing to recover; MIN_SHARE bounds how many may drop.
    return percentile_interval(np.where(slowed, (raised - matched) / np.where(slowed, raised - baseline, 1.0), np.nan))
