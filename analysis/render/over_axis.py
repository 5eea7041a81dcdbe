"""Two panels over one axis of the cells: median grokking step, and beside it the logit scale L."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.render.canvas import INK, MUTED, blank_figure, entitle, log_steps
from grok_sweeps.analysis.render.cell_points import (
    BASELINE,
    TICKS,
    Look,
    at_values,
    draw_scales,
    draw_steps,
    most_grokked,
    noted,
    ruled,
    scale_of,
    size_for,
    step_range,
)
from grok_sweeps.analysis.table.cells import Cell, median_of_grokked

LEVEL_STYLE = (0, (5, 3))


@dataclass(frozen=True, slots=True)
class Over:
    """The horizontal axis: its label, a cell's place on it, and whether it is logarithmic."""

    label: str
    place: Callable[[Cell], float]
    log: bool = False

    def ticked(self, axes: Axes, cells: Sequence[Cell], most: int = TICKS) -> None:
        """Label and ticks at the places of the cells."""
        at_values(axes, [self.place(c) for c in cells], "{:g}".format, log=self.log, most=most)
        axes.set_xlabel(self.label)


def steps_and_scales(
    cells: Sequence[Cell],
    over: Over,
    title: str,
    notes: tuple[Sequence[str], Sequence[str]],
    baseline: Cell | None = None,
) -> Figure:
    """Draw T and L of the cells, with numbers above each panel; `baseline` is a level across both."""
    figure = blank_figure(8.6, 4.4)
    left, right = figure.subplots(1, 2)
    look = Look(size=size_for(len(cells)))
    told = (*cells, *((baseline,) if baseline else ()))
    scale, _ = scale_of(told)
    places = [over.place(c) for c in cells]
    draw_steps(left, places, cells, look)
    draw_scales(right, places, cells, scale, look)
    joined(left, cells, over, lambda c: median_of_grokked(c).value if most_grokked(c) else None)
    joined(right, cells, over, lambda c: scale(c).value)
    log_steps(left, "y", *step_range(told))
    handles = [look.handle("cell")]
    if baseline is not None:
        _level(left, median_of_grokked(baseline))
        _level(right, scale(baseline))
        handles += right.plot([], [], color=INK, linewidth=1.2, linestyle=LEVEL_STYLE, label=f"baseline ({BASELINE})")
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    left.set_ylabel("grokked step T (log)")
    right.set_ylabel("logit scale L")
    for axes, lines in zip((left, right), notes, strict=True):
        over.ticked(axes, cells, most=6)
        ruled(axes)
        noted(axes, *lines)
    entitle(figure, title)
    return figure


def ratios_told(cells: Sequence[Cell]) -> str:
    """What a caption must say of ratios in which a cell counts that has no median here; else nothing."""
    if all(most_grokked(c) for c in cells):
        return ""
    return "As published, ratios of medians count the cells with an arrow too, over their seeds that grokked."


def joined(axes: Axes, cells: Sequence[Cell], over: Over, of: Callable[[Cell], float | None]) -> None:
    """A thin line from cell to cell, to follow them by."""
    points = [(over.place(c), y) for c in cells if (y := of(c)) is not None]
    axes.plot([x for x, _ in points], [y for _, y in points], color=MUTED, linewidth=0.8, zorder=1.5)


def _level(axes: Axes, estimate: Estimate) -> None:
    """A value across the panel, with its interval as a band."""
    if estimate.value is None:
        return
    axes.axhline(estimate.value, color=INK, linewidth=1.2, linestyle=LEVEL_STYLE, zorder=1.4)
    if estimate.interval is not None:
        axes.axhspan(*estimate.interval, color=MUTED, alpha=0.15, linewidth=0, zorder=1)
