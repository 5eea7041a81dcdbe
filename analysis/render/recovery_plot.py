"""The recovery fraction: T over L at the raised dose, and the three levels from which it is read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.recovery import Recovery
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import INK, MUTED, Drawing, blank_figure, entitle, tau_colours, tau_markers
from grok_sweeps.analysis.render.cell_points import (
    BASELINE,
    Look,
    apart,
    counted,
    draw_steps,
    how_drawn,
    noted,
    ruled,
    scale_of,
    size_for,
    steps_told,
)
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.cells import median_of_grokked

MOST_NAMED = 10
"""Temperatures up to which each is named at its point."""
_OF_RUNS, _WITH_RUNS = "recovery_fraction_runs_drawn_percentile", "L of each run at its own grokking, drawn anew"
_LEADER = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7}


def recovery_plot(family: Family, name: str) -> Drawing:
    """Draw the baseline and the raised dose's temperatures of one family with T0, T1 and the T2 at matched L."""
    found = family.recovery
    scale, which = scale_of(found.cells)
    levels = _levels(found)
    up = f"{found.cells[-1].rho:g}" if found.cells else ""
    caption = captions.joined(
        how_drawn(found.cells),
        f"Horizontal: L; {which}.",
        captions.intervals([(c.label, scale(c)) for c in found.cells], "Horizontal bars"),
        f"Hollow: baseline ({BASELINE}, T₀); filled: ρ {up} by τ, named where there is room (T₁ at τ 1), joined since "
        "T₂ is interpolated between neighbours. Dotted: the baseline's L, at which T₂ is read. Recovery fraction: "
        "(T₁ − T₂) / (T₁ − T₀), the inner double arrow over the outer.",
        captions.intervals([("recovery fraction", found.paper), (_WITH_RUNS, found[_OF_RUNS])], "Brackets"),
        f"{counted(found.cells)}.",
    )
    points = "; ".join(
        f"ρ {numbers.dose(c.rho or 0.0)}, τ {c.tau:g}: L {numbers.plain(scale(c).value)}, T {steps_told(c)}"
        for c in found.cells
    )
    heights = "".join(f"{symbol} {numbers.steps(step)}; " for symbol, step in levels)
    alt = f"Grokked step over logit scale. Recovery fraction {_told(found.paper)}; {heights}{points}."
    return Drawing(name, "Recovery at matched logit scale", caption, alt, lambda: _paint(family))


def _told(fraction: Estimate) -> str:
    return numbers.told(fraction) if fraction.value is not None else f"not known: {fraction.reason}"


def _levels(found: Recovery) -> list[tuple[str, float]]:
    """T0, T2 and T1 in steps; T2 follows from the fraction, of which it is part; none where there is no fraction."""
    if found.paper.value is None:
        return []
    baseline, raised = (median_of_grokked(c).value or 0.0 for c in found.cells[:2])
    return [("T₀", baseline), ("T₂", raised - found.paper.value * (raised - baseline)), ("T₁", raised)]


def _paint(family: Family) -> Figure:
    found = family.recovery
    figure = blank_figure(7.0, 4.9)
    axes = figure.add_subplot()
    scale, _ = scale_of(found.cells)
    taus = sorted({c.tau for c in found.cells})
    colours, markers, size = tau_colours(taus), tau_markers(taus), size_for(len(found.cells)) + 1
    at = [scale(c).value or 0.0 for c in found.cells]
    for place, cell in enumerate(found.cells):
        hollow = place == 0
        look = Look(colours[cell.tau], markers[cell.tau], hollow=hollow, size=size)
        draw_steps(axes, [at[place]], [cell], look)
        _across(axes, scale(cell), median_of_grokked(cell), look)
    raised = found.cells[1:]
    steps = [median_of_grokked(c).value or 0.0 for c in raised]
    axes.plot(at[1:], steps, color=MUTED, linewidth=0.9, zorder=1.5)
    many = len(raised) > MOST_NAMED
    named = apart([-x for x in at[1:]], most=4 if many else 12)
    for cell, x, step in zip(raised, at[1:], steps, strict=True):
        if -x not in named:
            continue
        off, leader = ((-26, 26), _LEADER) if many else ((-7, 4), None)
        text = f"τ {cell.tau:g}"
        axes.annotate(
            text, (x, step), off, textcoords="offset points", ha="right", fontsize=8.5, arrowprops=leader, zorder=6
        )
    handles = [Look(INK, markers[found.cells[0].tau], hollow=True).handle(f"baseline ({BASELINE})")]
    handles.append(Look().handle(f"ρ {raised[0].rho:g}, by τ"))
    axes.set_ylim(bottom=0)
    _read_off(axes, found, [scale(c) for c in found.cells])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    ruled(axes)
    axes.set(xlabel="logit scale L", ylabel="grokked step T")
    noted(axes, *_notes(found))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    entitle(figure, family.key.title)
    return figure


def _across(axes: Axes, scale: Estimate, steps: Estimate, look: Look) -> None:
    """The interval of L."""
    if scale.interval is not None and steps.value is not None:
        axes.plot(scale.interval, [steps.value] * 2, color=look.colour, linewidth=1.0, zorder=3)


def _read_off(axes: Axes, found: Recovery, scales: Sequence[Estimate]) -> None:
    """The three levels, the baseline's L, and brackets whose lengths are the fraction's two differences."""
    levels = _levels(found)
    if not levels:
        return
    at = [e.value or 0.0 for e in scales]
    ends = [v for e in scales for v in (e.interval or ())]
    room = (max(at) - min(at)) or 1.0
    left = max(min((*ends, *at)), min(at) - 0.3 * room)
    right = min(max((*ends, *at)), max(at) + 0.3 * room)
    inner, outer = right + 0.12 * room, right + 0.26 * room
    base = at[0]
    (_, low), (_, matched), (_, high) = levels
    axes.plot([base, base], [0, max(low, matched)], color=MUTED, linewidth=1.0, linestyle=":", zorder=1.4)
    for symbol, level in levels:
        start = at[1] if symbol == "T₁" else base
        axes.plot(
            [start, right + 0.38 * room], [level] * 2, color=INK, linewidth=0.8, linestyle=(0, (5, 3)), zorder=1.4
        )
    axes.plot([base], [matched], marker="x", markersize=7, markeredgewidth=1.6, color=INK, zorder=5)
    bracket = {"arrowstyle": "<->", "color": INK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    for x, bottom, text in ((inner, matched, "T₁ − T₂"), (outer, low, "T₁ − T₀")):
        axes.annotate("", (x, high), (x, bottom), arrowprops=bracket)
        axes.annotate(
            f"{text} = {numbers.steps(round(high - bottom))}",
            (x, (high + bottom) / 2),
            (4, 0),
            textcoords="offset points",
            rotation=90,
            va="center",
            fontsize=8.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
        )
    axes.set_xlim(left - 0.16 * room, right + 0.38 * room)
    for (symbol, level), y in zip(levels, _kept_apart([v for _, v in levels], 0.06 * axes.get_ylim()[1]), strict=True):
        axes.annotate(
            f"{symbol} = {numbers.steps(round(level))}",
            (1.0, y),
            (3, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def _kept_apart(levels: Sequence[float], least: float) -> list[float]:
    """Heights for the levels' names: the levels, moved where two are too close to be written beside each other."""
    order = sorted(range(len(levels)), key=levels.__getitem__)
    heights = list(levels)
    for one, other in pairwise(order):
        heights[other] = max(heights[other], heights[one] + least)
    return heights


def _notes(found: Recovery) -> tuple[str, ...]:
    runs = found[_OF_RUNS]
    with_runs = "" if runs.value is None else f"{_WITH_RUNS}: {numbers.told(runs)}"
    return (f"recovery fraction: {_told(found.paper)}", with_runs)
