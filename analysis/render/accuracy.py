"""Train and test accuracy over training: one panel a dose, one colour a temperature.

A grid of hundreds of cells would be unreadable: at most PANELS doses and TAUS temperatures are drawn, spread over what
there is, and the caption names how many were not.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grok_sweeps.analysis.render import numbers
from grok_sweeps.analysis.render.canvas import INK, MUTED, Drawing, entitle, log_steps, tau_colours, words
from grok_sweeps.analysis.render.panels import PANELS, spread, step_panels
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.curves import Band, CellCurve

TAUS = 6
ARMS = ("free", "clamp")


def accuracy(family: Family, name: str) -> Drawing:
    """Draw the accuracy curves of one family's free and clamp cells."""
    curves = [c for c in family.curves if c.cell.arm in ARMS]
    panels = spread(sorted({_panel(c) for c in curves}), PANELS)
    taus = spread(sorted({c.cell.tau for c in curves}), TAUS)
    shown = [c for c in curves if _panel(c) in panels and c.cell.tau in taus]
    omitted = len(family.curves) - len(shown)
    caption = (
        "Solid: test accuracy; dashed: train accuracy; line: median over seeds, band: minimum to maximum. A run that "
        "ended keeps its last reading, so the median is over all runs of the cell with readings; failed runs are left "
        "out. Dotted: the thresholds 0.90 (grokked, test) and 0.99 (memorised, train). "
        f"{numbers.count(len(shown), 'cell')}, {numbers.count(sum(c.n_runs for c in shown), 'run')}"
        + (f"; {numbers.count(omitted, 'cell')} not drawn, to keep it readable." if omitted else ".")
    )
    heading = "Accuracy over training"
    alt = "Train and test accuracy over step, one panel for each of: " + ", ".join(_title(p) for p in panels)
    if not shown:
        return Drawing(name, heading, caption, alt, lambda: words("the curves table has no readings of these runs."))
    return Drawing(name, heading, caption, alt, lambda: _paint(shown, panels, taus, family.key.title))


def _panel(curve: CellCurve) -> float:
    """The dose; 0 stands for the free arm, so that it comes first."""
    return 0.0 if curve.cell.rho is None else curve.cell.rho


def _title(panel: float) -> str:
    return f"ρ = {numbers.dose(panel)}" if panel else "free norm"


def _paint(shown: Sequence[CellCurve], panels: Sequence[float], taus: Sequence[float], title: str) -> Figure:
    figure, grid = step_panels([_title(p) for p in panels], "accuracy")
    colours = tau_colours(taus)
    last = max(float(c.step[-1]) for c in shown)
    first = max(1.0, min(float(c.step[0]) for c in shown))
    for panel, axes in zip(panels, grid, strict=True):
        for curve in shown:
            if _panel(curve) == panel:
                _band(axes, curve, curve.train, colours[curve.cell.tau], (0, (3, 1.5)), 0.9)
                _band(axes, curve, curve.test, colours[curve.cell.tau], "-", 1.7)
        for threshold in (0.90, 0.99):
            axes.axhline(threshold, color=MUTED, linewidth=0.7, linestyle=":", zorder=1)
        log_steps(axes, "x", first, max(last, 2 * first))
        axes.set(ylim=(-0.02, 1.04), xlim=(first, last * 1.1))
    marks = [Line2D([], [], color=colours[t], linewidth=2, label=f"τ = {t:g}") for t in taus]
    marks += [
        Line2D([], [], color=INK, linewidth=1.7, label="test"),
        Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (3, 1.5)), label="train"),
    ]
    figure.legend(
        handles=marks, loc="outside lower center", ncols=min(len(marks), 4 if len(panels) in (1, 2, 4) else 8)
    )
    entitle(figure, title)
    return figure


def _band(axes: Axes, curve: CellCurve, band: Band, colour: object, style: object, width: float) -> None:
    axes.fill_between(curve.step, band.low, band.high, color=colour, alpha=0.16, linewidth=0, zorder=2)
    axes.plot(curve.step, band.median, color=colour, linestyle=style, linewidth=width, zorder=3)
