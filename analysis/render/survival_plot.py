"""The share of runs that have not grokked yet, by Kaplan and Meier: censored runs stay in until they end.

One panel a dose and a line a temperature; a sweep of doses at one temperature has them as lines of one panel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.estimate import LEVEL
from analysis.render import numbers
from analysis.render.canvas import DASHES, INK, Drawing, log_steps, tau_colours
from analysis.render.cell_points import headed
from analysis.render.panels import PANELS, spread, step_panels
from analysis.result import Family
from analysis.survival import KaplanMeier

LINES = len(DASHES)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What tells panels apart and what lines, and which of them are drawn."""

    shown: tuple[KaplanMeier, ...]
    panel: Callable[[KaplanMeier], float]
    line: Callable[[KaplanMeier], float]
    panel_title: str
    line_title: str


def survival_plot(family: Family, name: str) -> Drawing:
    """Draw the Kaplan-Meier curves of one family's clamp cells."""
    curves = family.survival.curves
    layout = _layout(curves)
    n_omitted = len(curves) - len(layout.shown)
    n_runs = sum(c.n_runs for c in layout.shown)
    n_ended = sum(len(c.ended) for c in layout.shown)
    caption = (
        "Share of a cell's runs that have not grokked by a step (Kaplan, Meier), steps taken as exact; band: pointwise "
        f"{LEVEL:.0%} interval by ln(−ln share); tick: a run that ended there without grokking (censored, diverged). "
        f"{numbers.count(len(layout.shown), 'cell')} of arm clamp, {numbers.count(n_runs, 'run')}, {n_ended:,} of which "
        "did not grok" + (f"; {numbers.count(n_omitted, 'cell')} not drawn, to keep it readable." if n_omitted else ".")
    )
    told = "; ".join(
        f"ρ {numbers.dose(c.rho)}, τ {c.tau:g}: {c.n_runs - len(c.ended)} of {numbers.count(c.n_runs, 'run')} grokked"
        + (f" at steps {numbers.steps(c.steps[0])} to {numbers.steps(c.steps[-1])}" if c.steps else "")
        for c in layout.shown
    )
    alt = f"Falling stairs from 1: share of runs not yet grokked over step, log axis. {told}."
    return Drawing(name, "Runs not yet grokked", caption, alt, lambda: _paint(layout, family.key.title))


def _layout(curves: Sequence[KaplanMeier]) -> _Layout:
    by_rho, by_tau = (lambda c: c.rho), (lambda c: c.tau)
    if len({c.tau for c in curves}) > 1:
        panel, line, titles = by_rho, by_tau, ("ρ = ", "τ = ")
    else:
        panel, line, titles = by_tau, by_rho, ("τ = ", "ρ = ")
    panels = spread(sorted({panel(c) for c in curves}), PANELS)
    lines = spread(sorted({line(c) for c in curves}), LINES)
    shown = tuple(c for c in curves if panel(c) in panels and line(c) in lines)
    return _Layout(shown, panel, line, *titles)


def _paint(layout: _Layout, title: str) -> Figure:
    shown = layout.shown
    panels, lines = (sorted({of(c) for c in shown}) for of in (layout.panel, layout.line))
    figure, grid = step_panels([f"{layout.panel_title}{numbers.dose(v)}" for v in panels], "share not yet grokked")
    colours = tau_colours(lines)
    dashes = {v: DASHES[i] for i, v in enumerate(lines)}
    steps = [s for c in shown for s in (*c.steps, *c.ended)]
    first, last = 0.8 * min(steps), 1.15 * max(steps)
    for value, axes in zip(panels, grid, strict=True):
        for curve in shown:
            if layout.panel(curve) == value:
                key = layout.line(curve)
                _stairs(axes, curve, colours[key], dashes[key], first)
        log_steps(axes, "x", first, last)
        axes.set(ylim=(-0.02, 1.04), xlim=(first, last))
    marks = [
        Line2D([], [], color=colours[v], linestyle=dashes[v], linewidth=1.7, label=f"{layout.line_title}{v:g}")
        for v in lines
    ]
    if any(c.ended for c in shown):
        tick = {"marker": "|", "markersize": 9, "markeredgewidth": 1.3, "linestyle": "none"}
        marks.append(Line2D([], [], color=INK, label="ended without grokking", **tick))
    figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 4), handlelength=3.2)
    headed(figure, title)
    return figure


def _stairs(axes: Axes, curve: KaplanMeier, colour: object, dashes: object, first: float) -> None:
    """The curve from 1 at the left edge to where its last run grokked or ended."""
    last = max((*curve.steps, *curve.ended))
    x = [first, *curve.steps, last]
    share = [1.0, *curve.share]
    y = [*share, share[-1]]
    low, high = ([1.0, *(np.nan if v is None else v for v in ends)] for ends in (curve.low, curve.high))
    axes.fill_between(
        x, [*low, low[-1]], [*high, high[-1]], step="post", color=colour, alpha=0.12, linewidth=0, zorder=2
    )
    axes.step(x, y, where="post", color=colour, linestyle=dashes, linewidth=1.6, zorder=3)
    at = [share[int(np.searchsorted(curve.steps, s, side="right"))] for s in curve.ended]
    axes.plot(curve.ended, at, marker="|", markersize=9, markeredgewidth=1.3, linestyle="none", color=colour, zorder=4)
