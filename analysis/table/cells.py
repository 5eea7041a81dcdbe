"""Runs that differ only in the seed, and what a cell says: medians, spread and counts.

A run that spent its budget without grokking is +infinity in an order statistic, never a number and never dropped: so
the median exists only where fewer than half of the runs are censored, and a quartile likewise. A diverged run counts
the same way (it will not grok). A failed run says nothing about the network and is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.stats import t

from grok_sweeps.analysis.estimate import LEVEL, Estimate, absent
from grok_sweeps.analysis.table.ranks import MEDIAN_INTERVAL, median_interval, order_statistic

_MEDIAN = (
    "Median over seeds; a run that did not reach it within its budget (censored, diverged) counts as +infinity, "
    f"failed runs are not counted. {MEDIAN_INTERVAL}"
)
T_INTERVAL = "Interval: t over seeds."
_MEAN_L = f"Mean over the grokked seeds of the logit scale L, each read at the run's own grokking step. {T_INTERVAL}"


RIVALS = ("grad_norm", "update_norm", "turn_angle", "preactivation_rms")
"""Readings that the dose moves too, which are set against the logit scale."""


@dataclass(frozen=True, slots=True)
class RunPoint:
    """One counted run; `grokked_step` and `memorized_step` are +infinity where not reached.

    `logged_scale` is L at the logged step nearest to the cell's median, where `grok_sweeps.analysis.table.logged` has
    read it, and `logged_rivals` what is known there of RIVALS.
    """

    run_id: str
    seed: int | None
    grokked_step: float
    memorized_step: float
    logit_scale: float | None
    logged_scale: float | None = None
    logged_rivals: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Spread:
    """Order statistics of grokked_step in steps; None where a censored run stands at that rank."""

    minimum: float | None
    lower_quartile: float | None
    upper_quartile: float | None
    maximum: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `runs` are those counted (grokked, censored, diverged); `superseded` says why another is used.

    `gamma` is None but for the arm allocation; `fork_step` but for fork. `logged_step` is the step of the runs'
    `logged_scale`, `logged_logit_scale` their mean (L of convention `paper`), where `logged` has read them.
    """

    cell_id: str
    arm: str
    gamma: float | None
    rho: float | None
    tau: float
    horizon_steps: float | None
    n_runs: int
    n_grokked: int
    n_censored: int
    n_diverged: int
    n_failed: int
    grokked_step: Estimate
    memorized_step: Estimate
    delay: Estimate
    logit_scale: Estimate
    spread: Spread
    runs: tuple[RunPoint, ...]
    superseded: str = ""
    w_c: float | None = None
    logged_step: float | None = None
    logged_logit_scale: Estimate | None = None
    weight_norm: Estimate | None = None
    fork_step: float | None = None

    @property
    def held_norm(self) -> float | None:
        """The weight norm that is held, rho * w_c; None where it is free or unknown."""
        return None if self.rho is None or self.w_c is None else self.rho * self.w_c

    @property
    def arm_label(self) -> str:
        """The arm, with its gamma where it has one."""
        return self.arm if self.gamma is None else f"{self.arm} γ {self.gamma:g}"

    @property
    def label(self) -> str:
        """Short name: `clamp, rho 1.15, tau 1.3`."""
        return f"{self.arm_label}, {'' if self.rho is None else f'rho {self.rho:g}, '}tau {self.tau:g}"

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """All that a cell says."""
        optional = (e for e in (self.logged_logit_scale, self.weight_norm) if e is not None)
        return (self.grokked_step, self.memorized_step, self.delay, self.logit_scale, *optional)

    @property
    def n_counted(self) -> int:
        """Runs that count in the median: all but the failed."""
        return self.n_grokked + self.n_censored + self.n_diverged


def median_of_grokked(cell: Cell) -> Estimate:
    """Median grokked_step over the seeds that grokked, the others left out: T of convention `paper`."""
    steps = [r.grokked_step for r in cell.runs if math.isfinite(r.grokked_step)]
    if len(steps) == cell.n_counted or not steps:
        return cell.grokked_step
    method = f"Median over the seeds that grokked, the others left out, as published. {MEDIAN_INTERVAL}"
    interval, why = median_interval(steps)
    return replace(
        cell.grokked_step,
        name="median_grokked_step_of_grokked",
        value=order_statistic(steps, 0.5),
        method=method,
        interval=interval,
        n_runs=len(steps),
        left_out=(*cell.grokked_step.left_out, f"{cell.n_counted - len(steps)} that did not grok"),
        reason="",
        interval_reason=why,
    )


def make_cells(runs: pd.DataFrame, missing: frozenset[str]) -> tuple[Cell, ...]:
    """All cells of one family (clean runs), ordered by arm, rho, tau."""
    fallback = ["control_id", "max_steps", "eval_every"] if "cell_id" in missing else ["cell_id"]
    groups = runs.groupby(["arm", "gamma", "rho", "tau", *fallback], dropna=False, sort=False)
    cells = [_cell(group, missing) for _, group in groups]
    cells.sort(key=lambda c: (c.arm != "free", c.arm, c.gamma or 0.0, c.rho or 0.0, c.tau))
    return preferred(cells)


def preferred(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Mark all but one held cell of an arm at each gamma, rho, tau: the longest budget, then the most runs, is used."""
    best: dict[tuple[object, ...], Cell] = {}
    for cell in cells:
        rival = best.get(_place(cell))
        if rival is None or _rank(cell) > _rank(rival):
            best[_place(cell)] = cell
    return tuple(c if c.arm == "free" else _supersede(c, best[_place(c)]) for c in cells)


def _place(cell: Cell) -> tuple[object, ...]:
    return (cell.arm, cell.gamma, cell.rho, cell.tau)


def _rank(cell: Cell) -> tuple[float, int]:
    return (cell.horizon_steps or 0.0, cell.n_runs)


def _supersede(cell: Cell, best: Cell) -> Cell:
    if best is cell:
        return cell
    why = f"another cell has the same arm, rho and tau; the longer budget, then the more runs, is used ({best.cell_id})"
    return replace(cell, superseded=why)


def _cell(group: pd.DataFrame, missing: frozenset[str]) -> Cell:
    first = group.iloc[0]
    outcome = group["outcome"]
    counted = group[outcome.isin(["grokked", "censored", "diverged"]).to_numpy()]
    points = _points(counted)
    n_failed, n_unknown = int((outcome == "failed").sum()), int(outcome.isna().sum())
    left_out = tuple(
        f"{n} {what}"
        for n, what in ((n_failed, "failed"), (n_unknown, "with an unknown or contradictory outcome"))
        if n
    )
    grokked = [r.grokked_step for r in points]
    memorized = [r.memorized_step for r in points]
    n_odd = sum(math.isinf(m) and math.isfinite(g) for m, g in zip(memorized, grokked, strict=True))
    odd = (f"{n_odd} grokked without memorized_step",) if n_odd else ()
    forked_at = first["fork_step"]
    began = memorized if forked_at is None else [float(forked_at)] * len(points)
    delay = [g - m if math.isfinite(g) else math.inf for g, m in zip(grokked, began, strict=True)]
    delay = [d for d in delay if d != -math.inf]
    scales = [r.logit_scale for r in points if r.logit_scale is not None]
    no_grokked = "the table has no column grokked_step" if "grokked_step" in missing else ""
    no_memorized = "the table has no column memorized_step" if "memorized_step" in missing else ""
    horizons = group["max_steps"].dropna()
    norms = group["w_c"].dropna()
    return Cell(
        cell_id=_text(first["cell_id"]),
        arm=_text(first["arm"]),
        gamma=None if first["gamma"] is None or math.isnan(first["gamma"]) else float(first["gamma"]),
        rho=None if math.isnan(first["rho"]) else float(first["rho"]),
        tau=float(first["tau"]),
        horizon_steps=float(horizons.max()) if len(horizons) else None,
        n_runs=len(group),
        n_grokked=int((outcome == "grokked").sum()),
        n_censored=int((outcome == "censored").sum()),
        n_diverged=int((outcome == "diverged").sum()),
        n_failed=n_failed,
        grokked_step=_median("median_grokked_step", grokked, left_out, no_grokked),
        memorized_step=_median("median_memorized_step", memorized, left_out, no_memorized),
        delay=_median("median_delay", delay, (*left_out, *odd), no_grokked or no_memorized),
        logit_scale=_mean_scale(scales, len(group), missing),
        spread=Spread(*(None if no_grokked else order_statistic(grokked, q) for q in (0.0, 0.25, 0.75, 1.0))),
        runs=points,
        weight_norm=_norm(counted, missing),
        w_c=float(norms.median()) if len(norms) else None,
        fork_step=None if forked_at is None else float(forked_at),
    )


def _points(counted: pd.DataFrame) -> tuple[RunPoint, ...]:
    names = ("seed", "grokked_step", "memorized_step", "logit_scale_at_grok")
    numbers = (counted[name].to_numpy(dtype=np.float64) for name in names)
    rows = zip(counted["run_id"], counted["outcome"], *numbers, strict=True)
    return tuple(
        RunPoint(
            str(run_id),
            None if math.isnan(seed) else int(seed),
            math.inf if math.isnan(grokked) else float(grokked),
            math.inf if math.isnan(memorized) else float(memorized),
            None if math.isnan(scale) or outcome != "grokked" else float(scale),
        )
        for run_id, outcome, seed, grokked, memorized, scale in rows
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else "unknown"


def _median(name: str, values: Sequence[float], left_out: tuple[str, ...], missing: str) -> Estimate:
    never = sum(map(math.isinf, values))
    value = None if missing else order_statistic(values, 0.5)
    if value is not None:
        interval, why = median_interval(values)
        return Estimate(
            name,
            value,
            "step",
            _MEDIAN,
            interval,
            n_runs=len(values),
            n_cells=1,
            left_out=left_out,
            interval_reason=why,
        )
    reason = missing or (
        f"{never} of {len(values)} runs did not reach it within their budget, so the median is beyond it or undefined"
        if values
        else "no run of the cell counts"
    )
    return absent(name, "step", _MEDIAN, reason, n_runs=len(values), n_cells=1, left_out=left_out)


def _mean_scale(scales: Sequence[float], n_runs: int, missing: frozenset[str]) -> Estimate:
    left_out = (f"{n_runs - len(scales)} without L at grokking",) if len(scales) < n_runs else ()
    if scales:
        return mean_over_seeds("mean_logit_scale", _MEAN_L, scales, left_out)
    lacks = "logit_scale_at_grok" in missing
    reason = "the table has no column logit_scale_at_grok" if lacks else "no run of the cell has L at grokking"
    return absent("mean_logit_scale", "1", _MEAN_L, reason, n_cells=1, left_out=left_out)


def _norm(counted: pd.DataFrame, missing: frozenset[str]) -> Estimate:
    """Median weight norm at grokking: for a control, the w_c that it gives."""
    method = f"Median over the grokked seeds of the weight norm at the run's own grokking step. {MEDIAN_INTERVAL}"
    norms = counted.loc[(counted["outcome"] == "grokked").to_numpy(), "weight_norm_at_grok"].dropna().tolist()
    if not norms:
        lacks = "weight_norm_at_grok" in missing
        reason = "the table has no column weight_norm_at_grok" if lacks else "no grokked run has weight_norm_at_grok"
        return absent("median_weight_norm", "1", method, reason, n_cells=1)
    interval, why = median_interval(norms)
    value = order_statistic(norms, 0.5)
    return Estimate(
        "median_weight_norm", value, "1", method, interval, n_runs=len(norms), n_cells=1, interval_reason=why
    )


def mean_over_seeds(name: str, method: str, values: Sequence[float], left_out: tuple[str, ...] = ()) -> Estimate:
    """Mean of one or more readings of a cell's seeds, with its t interval."""
    n = len(values)
    mean = math.fsum(values) / n
    # Squares of very small readings would be 0, and the interval a point.
    unit = max(map(abs, values)) or 1.0
    interval, why = None, "one seed has no spread"
    if n > 1:
        half = (
            float(t.ppf((1 + LEVEL) / 2, n - 1)) * float(np.std(np.array(values) / unit, ddof=1)) * unit / math.sqrt(n)
        )
        interval, why = (mean - half, mean + half), ""
    return Estimate(name, mean, "1", method, interval, n_runs=n, n_cells=1, left_out=left_out, interval_reason=why)
