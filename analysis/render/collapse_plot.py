"""The collapse: the same medians against the dose and against the logit scale, on one log axis of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.collapse import CAVEAT, Collapse
from grok_sweeps.analysis.methods.bootstrap import seed_table
from grok_sweeps.analysis.methods.convention import cell_scales, scale_sentence
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import (
    INK,
    MUTED,
    Drawing,
    blank_figure,
    log_steps,
    tau_colours,
    tau_markers,
    words,
)
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.cells import Cell, RunPoint


def collapse_plot(family: Family, name: str) -> Drawing:
    """Draw the usable cells of one family's collapse regression, with its fits and R2."""
    fit = family.collapse
    on_scale = fit["r2_logit_scale"]
    left_out = "What was left out is named below." if on_scale.left_out else ""
    n_cells, n_runs = numbers.count(len(fit.cells), "cell"), numbers.count(on_scale.n_runs, "run")
    caption = captions.joined(
        f"Large: T, a cell's median of grokked_step; {scale_sentence(seed_table(fit.cells))}; small: single runs at "
        "their own grokking step; line: least squares of y = ln T on the horizontal axis.",
        captions.intervals([(c.label, c.grokked_step) for c in fit.cells], "Bars"),
        captions.intervals([("R² on ρ", fit["r2_rho"]), ("R² on L", on_scale)], "Brackets"),
        f"{n_cells}, {n_runs}.",
        left_out,
        CAVEAT,
    )
    alt = (
        f"Two scatter plots of median grokked step on a log axis: against dose, R² {numbers.value(fit['r2_rho'])}; "
        f"against logit scale, R² {numbers.value(on_scale)}."
    )
    heading = "Collapse: grokking step against dose and against logit scale"
    if not fit.cells:
        why = "no cell has both a median grokked_step and L at grokking (see what was left out below)."
        return Drawing(name, heading, caption, alt, lambda: words(why))
    return Drawing(name, heading, caption, alt, lambda: _paint(fit, family.key.title))


def _paint(fit: Collapse, title: str) -> Figure:
    cells = fit.cells
    taus = sorted({c.tau for c in cells})
    colours, markers = tau_colours(taus), tau_markers(taus)
    figure = blank_figure(9.0, 4.5)
    left, right = figure.subplots(1, 2, sharey=True)
    rhos = sorted({c.rho or 0.0 for c in cells})
    gap = min(np.diff(rhos), default=0.1)
    shift = {tau: gap * 0.11 * (i - (len(taus) - 1) / 2) for i, tau in enumerate(taus)}
    if len(taus) > 6:
        shift = {tau: s * 6 / len(taus) for tau, s in shift.items()}
    scales = cell_scales(cells)
    for tau in taus:
        look = {"color": colours[tau], "marker": markers[tau], "linestyle": "none"}
        placed = [(c, (c.rho or 0.0) + shift[tau], at) for c, at in zip(cells, scales, strict=True) if c.tau == tau]
        runs = [(x, r) for c, x, _ in placed for r in c.runs if math.isfinite(r.grokked_step)]
        read = [(r.logit_scale, r) for _, r in runs if r.logit_scale is not None]
        _points(left, [(x, c) for c, x, _ in placed], runs, look)
        _points(right, [(at, c) for c, _, at in placed], read, look)
    steps = [r.grokked_step for c in cells for r in c.runs if math.isfinite(r.grokked_step)]
    log_steps(left, "y", min(steps), max(steps))
    _line(left, cells, [c.rho or 0.0 for c in cells], fit["slope_rho"])
    _line(right, cells, scales, fit["slope_logit_scale"])
    _note(left, fit["r2_rho"])
    _note(right, fit["r2_logit_scale"])
    left.set_xticks(rhos if len(rhos) <= 9 else rhos[:: math.ceil(len(rhos) / 9)])
    left.xaxis.set_major_formatter(lambda v, _: numbers.dose(v))
    left.set(
        xlabel="dose ρ (held norm / w_c), points set apart by τ",
        ylabel="grokked step T (log axis: y = ln T)",
        title=title,
    )
    right.set(xlabel="logit scale L, mean over seeds")
    right.tick_params(labelleft=False)
    for axes in (left, right):
        axes.grid(axis="y", color="#eaeef2", linewidth=0.8)
        axes.set_axisbelow(True)
    marks = [
        Line2D([], [], color=colours[t], marker=markers[t], linestyle="none", markersize=7, label=f"τ = {t:g}")
        for t in taus
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=min(8, len(taus)), handletextpad=0.2)
    return figure


def _points(
    axes: Axes, cells: Sequence[tuple[float, Cell]], runs: Sequence[tuple[float, RunPoint]], look: dict[str, Any]
) -> None:
    """Cells of one look with their intervals, and single runs, each at its place."""
    small = {**look, "markersize": 2.8, "alpha": 0.4, "markeredgewidth": 0, "zorder": 2}
    large = {**look, "markersize": 8, "markeredgecolor": "white", "markeredgewidth": 0.9, "zorder": 4}
    axes.plot([x for x, _ in runs], [r.grokked_step for _, r in runs], **small)
    axes.plot([x for x, _ in cells], [c.grokked_step.value or 1.0 for _, c in cells], **large)
    ranged = [(x, *c.grokked_step.interval) for x, c in cells if c.grokked_step.interval is not None]
    if ranged:
        x, low, high = zip(*ranged, strict=True)
        axes.vlines(x, low, high, colors=[look["color"]], linewidth=1.3, zorder=3)


def _line(axes: Axes, cells: Sequence[Cell], x: list[float], slope: Estimate) -> None:
    if slope.value is None:
        return
    y = [math.log(c.grokked_step.value or 1.0) for c in cells]
    ends = np.array([min(x), max(x)])
    line = np.exp(np.mean(y) + slope.value * (ends - np.mean(x)))
    axes.plot(ends, line, color=INK, linewidth=1.1, linestyle=(0, (5, 3)), zorder=3)


def _note(axes: Axes, r2: Estimate) -> None:
    if r2.value is None:
        text = f"no fit: {r2.reason}"
    else:
        text = f"R² = {numbers.value(r2)}" + (
            f"\n{r2.level:.0%} interval {numbers.interval(r2)}" if r2.interval else ""
        )
    axes.text(
        0.03,
        0.97,
        text,
        transform=axes.transAxes,
        va="top",
        fontsize=9.5 if r2.value is not None else 8,
        color=INK if r2.value is not None else MUTED,
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2},
    )
