"""The share of runs that have not grokked yet, by Kaplan and Meier: censored runs stay in until they end.

One panel a dose and a line a temperature; a sweep of doses at one temperature has them as lines of one panel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grok_sweeps.analysis.estimate import LEVEL
from grok_sweeps.analysis.estimators.survival_curves import KaplanMeier
from grok_sweeps.analysis.render import numbers
from grok_sweeps.analysis.render.canvas import DASHES, INK, MUTED, Drawing, entitle, log_steps, tau_colours
from grok_sweeps.analysis.render.panels import PANELS, spread, step_panels
from grok_sweeps.analysis.result import Family

LINES = len(DASHES)
_TICK: dict[str, Any] = {"marker": "|", "markersize": 9, "markeredgewidth": 1.3, "linestyle": "none"}


_Told: TypeAlias = tuple[Callable[[KaplanMeier], float], Callable[[float], str]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """What tells panels apart and what lines, and which of them are drawn."""

    shown: tuple[KaplanMeier, ...]
    panel: Callable[[KaplanMeier], float]
    line: Callable[[KaplanMeier], float]
    panel_title: Callable[[float], str]
    line_title: Callable[[float], str]


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
        f"{numbers.count(len(layout.shown), 'cell')} of arm clamp, {numbers.count(n_runs, 'run')}, {n_ended:,} did not "
        "grok" + (f"; {numbers.count(n_omitted, 'cell')} not drawn, to keep it readable." if n_omitted else ".")
    )
    told = "; ".join(
        f"ρ {numbers.dose(c.rho)}, τ {c.tau:g}: {c.n_runs - len(c.ended)} of {numbers.count(c.n_runs, 'run')} grokked"
        + (f" at steps {numbers.steps(c.steps[0])} to {numbers.steps(c.steps[-1])}" if c.steps else "")
        for c in layout.shown
    )
    alt = f"Falling stairs from 1: share of runs not yet grokked over step, log axis. {told}."
    return Drawing(name, "Runs not yet grokked", caption, alt, lambda: _paint(layout, family.key.title))


def _rho(curve: KaplanMeier) -> float:
    return curve.rho


def _tau(curve: KaplanMeier) -> float:
    return curve.tau


def _layout(curves: Sequence[KaplanMeier]) -> _Layout:
    axes: tuple[_Told, _Told] = ((_rho, lambda v: f"ρ = {numbers.dose(v)}"), (_tau, "τ = {:g}".format))
    (panel, panel_title), (line, line_title) = axes[::-1] if len({c.tau for c in curves}) == 1 else axes
    panels = spread(sorted({panel(c) for c in curves}), PANELS)
    lines = spread(sorted({line(c) for c in curves}), LINES)
    shown = tuple(c for c in curves if panel(c) in panels and line(c) in lines)
    return _Layout(shown, panel, line, panel_title, line_title)


def _paint(layout: _Layout, title: str) -> Figure:
    shown = layout.shown
    panels, lines = (sorted({of(c) for c in shown}) for of in (layout.panel, layout.line))
    figure, grid = step_panels([layout.panel_title(v) for v in panels], "share not yet grokked")
    colours = tau_colours(lines)
    dashes = {v: DASHES[i] for i, v in enumerate(lines)}
    steps = [s for c in shown for s in (*c.steps, *c.ended)]
    first, last = 0.8 * min(steps), 1.15 * max(steps)
    for value, axes in zip(panels, grid, strict=True):
        for curve in shown:
            if layout.panel(curve) == value:
                key = layout.line(curve)
                _stairs(axes, curve, colours[key], dashes[key], first)
        latest = max(_start(c, first) for c in shown if layout.panel(c) == value)
        axes.plot([first, latest], [1, 1], color=MUTED, linewidth=0.8, zorder=2)
        log_steps(axes, "x", first, last, sparse=len(panels) > 1)
        axes.set(ylim=(-0.02, 1.04), xlim=(first, last))
    marks = [
        Line2D([], [], color=colours[v], linestyle=dashes[v], linewidth=1.7, label=layout.line_title(v)) for v in lines
    ]
    if any(c.ended for c in shown):
        marks.append(Line2D([], [], color=INK, label="ended without grokking", **_TICK))
    columns = min(len(marks), 3 if len(panels) == 1 else 4)
    figure.legend(handles=marks, loc="outside lower center", ncols=columns, handlelength=3)
    entitle(figure, title)
    return figure


def _stairs(axes: Axes, curve: KaplanMeier, colour: object, dashes: object, first: float) -> None:
    """The curve from its first fall to where its last run grokked or ended; before that all curves are 1."""
    last = max((*curve.steps, *curve.ended))
    start = _start(curve, first)
    x, share = [start, *curve.steps, last], [1.0, *curve.share]
    low, high = ([1.0, *(np.nan if v is None else v for v in ends)] for ends in (curve.low, curve.high))
    band: dict[str, Any] = {"step": "post", "color": colour, "alpha": 0.11, "linewidth": 0, "zorder": 2}
    axes.fill_between(x, [*low, low[-1]], [*high, high[-1]], **band)
    axes.step(x, [*share, share[-1]], where="post", color=colour, linestyle=dashes, linewidth=1.6, zorder=3)
    if curve.ended:
        at = [share[int(np.searchsorted(curve.steps, s, side="right"))] for s in curve.ended]
        axes.plot(curve.ended, at, color=colour, zorder=4, **_TICK)


def _start(curve: KaplanMeier, first: float) -> float:
    """Where the first run of the curve grokked."""
    return curve.steps[0] if curve.steps else first
