"""A cell as a point: its median over the seeds with the exact interval, its runs, and how many of them grokked.

The median is the one that the estimates beside it rest on (convention `paper`): over the seeds that grokked. Where some
did not, the count stands at the point, so that nobody reads it as a median of all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.methods.convention import LOGGED_L, OWN_L
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import INK, MUTED
from grok_sweeps.analysis.table.cells import Cell, median_of_grokked

BASELINE = "ρ 1, τ 1"
TICKS = 9
"""Numbers that have room below one panel across a page."""

Point: TypeAlias = tuple[float, Estimate, Sequence[float]]
"""A place on the horizontal axis, the value there, and the runs behind it."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the points of one kind are drawn."""

    colour: Any = INK
    marker: str = "o"
    hollow: bool = False
    size: float = 6

    def handle(self, label: str) -> Line2D:
        """The entry of a legend."""
        return Line2D([], [], linestyle="none", label=label, **replace(self, size=max(6, self.size))._large())

    def _large(self) -> dict[str, Any]:
        face, edge = ("white", self.colour) if self.hollow else (self.colour, "white")
        return {
            "marker": self.marker,
            "markersize": self.size,
            "markerfacecolor": face,
            "markeredgecolor": edge,
            "markeredgewidth": (0.2 if self.hollow else 0.13) * self.size,
        }

    def draw(self, axes: Axes, points: Sequence[Point]) -> None:
        """Values with their intervals, and the runs behind them; all of them in a few artists, which is fast."""
        self._runs(axes, [(x, run) for x, _, runs in points for run in runs if math.isfinite(run)])
        known = [(x, e, e.value) for x, e, _ in points if e.value is not None]
        ranged = [(x, value, *e.interval) for x, e, value in known if e.interval is not None]
        if ranged:
            x, values, low, high = np.array(ranged).T
            reach = np.maximum(0.0, [values - low, high - values])
            width, cap = 0.2 * self.size, 0.58 * self.size
            axes.errorbar(x, values, reach, ecolor=self.colour, elinewidth=width, capsize=cap, fmt="none", zorder=3)
        if known:
            axes.plot(
                [x for x, _, _ in known], [value for *_, value in known], linestyle="none", zorder=4, **self._large()
            )

    def _runs(self, axes: Axes, places: Sequence[tuple[float, float]]) -> None:
        """Single runs, small, beside the place of their cell."""
        if not places:
            return
        x, y = zip(*places, strict=True)
        (small,) = axes.plot(x, y, marker=self.marker, linestyle="none", zorder=2)
        small.set(markersize=1 + 0.27 * self.size, color=self.colour, alpha=0.5, markeredgewidth=0)
        figure = axes.get_figure(root=True)
        if figure is not None:
            aside = ScaledTranslation(0.9 * self.size / 72, 0, figure.dpi_scale_trans)
            small.set_transform(axes.transData + aside)


def size_for(n_cells: int) -> float:
    """Marker size in points at which that many cells over one axis do not cover each other."""
    return max(3.0, 6 * min(1.0, math.sqrt(12 / max(1, n_cells))))


def most_grokked(cell: Cell) -> bool:
    """Whether the cell has a T."""
    return 2 * cell.n_grokked > cell.n_counted and cell.grokked_step.value is not None


def draw_steps(axes: Axes, places: Sequence[float], cells: Sequence[Cell], look: Look) -> None:
    """The cells' T; where half of one or more did not grok an arrow at the top, since the median lies beyond."""
    lost = [(x, c) for x, c in zip(places, cells, strict=True) if c.n_counted and not most_grokked(c)]
    look.draw(axes, [(x, _drawn(c), [r.grokked_step for r in c.runs]) for x, c in zip(places, cells, strict=True)])
    for x, cell in zip(places, cells, strict=True):
        if most_grokked(cell) and cell.n_grokked < cell.n_counted:
            top = (x, max(r.grokked_step for r in cell.runs if math.isfinite(r.grokked_step)))
            axes.annotate(
                _share(cell), top, (0, 4), textcoords="offset points", ha="center", fontsize=8, color=MUTED, zorder=5
            )
    if not lost:
        return
    axes.margins(y=0.2)
    at_top = axes.get_xaxis_transform()
    arrow: dict[str, Any] = {"marker": r"$\uparrow$", "markersize": 10, "linestyle": "none"}
    axes.plot([x for x, _ in lost], [0.95] * len(lost), color=look.colour, transform=at_top, zorder=4, **arrow)
    for x, cell in lost:
        axes.annotate(_share(cell), (x, 0.91), xycoords=at_top, ha="center", va="top", fontsize=8, color=MUTED)


def _drawn(cell: Cell) -> Estimate:
    return median_of_grokked(cell) if most_grokked(cell) or not cell.n_counted else cell.grokked_step


def _share(cell: Cell) -> str:
    return f"{cell.n_grokked}/{cell.n_counted}"


def scale_of(cells: Sequence[Cell]) -> tuple[Callable[[Cell], Estimate], str]:
    """How to read L of convention `paper` off one of these cells, and the sentence that says which L it is for all."""
    if all(_logged(c).value is not None for c in cells):
        return _logged, LOGGED_L
    return lambda cell: cell.logit_scale, OWN_L


def _logged(cell: Cell) -> Estimate:
    return cell.logged_logit_scale or absent("mean_logit_scale_logged", "1", "", "L was not read over time")


def draw_scales(
    axes: Axes, places: Sequence[float], cells: Sequence[Cell], scale: Callable[[Cell], Estimate], look: Look
) -> None:
    """The cells' L."""
    look.draw(axes, [(x, scale(c), _scales(c, scale(c))) for x, c in zip(places, cells, strict=True)])


def _scales(cell: Cell, scale: Estimate) -> list[float]:
    is_logged = scale is cell.logged_logit_scale
    runs = (r.logged_scale if is_logged else r.logit_scale for r in cell.runs)
    return [v for v in runs if v is not None]


def step_range(cells: Iterable[Cell], *, memorized: bool = False) -> tuple[float, float]:
    """The smallest and the largest step drawn for the cells; 1 to 10 where there is none."""
    runs = [r for c in cells for r in c.runs]
    steps = [r.grokked_step for r in runs] + [r.memorized_step for r in runs if memorized]
    drawn = [s for s in steps if s > 0 and math.isfinite(s)]
    return (min(drawn), max(drawn)) if drawn else (1.0, 10.0)


def at_values(
    axes: Axes, values: Sequence[float], write: Callable[[float], str], *, log: bool = False, most: int = TICKS
) -> None:
    """Ticks of the horizontal axis at values of the cells, as many as have room."""
    if log:
        axes.set_xscale("log")
    axes.set_xticks([], minor=True)
    ticks = apart(values, log=log, most=most)
    axes.set_xticks(ticks, [write(v) for v in ticks])
    if len(set(values)) == 1:
        axes.set_xlim(values[0] - 0.2 * abs(values[0] or 1), values[0] + 0.2 * abs(values[0] or 1))


def apart(values: Sequence[float], *, log: bool = False, most: int = TICKS) -> list[float]:
    """Of the values those that lie a part of their range in `most` apart, from the smallest on."""
    ranked = sorted(set(values))
    place = {v: math.log(v) if log else v for v in ranked}
    least = (place[ranked[-1]] - place[ranked[0]]) / most if ranked else 0.0
    kept = ranked[:1]
    for v in ranked[1:]:
        if place[v] - place[kept[-1]] >= 0.999 * least:
            kept.append(v)
    return kept


def noted(axes: Axes, *lines: str, over: float = 0.0) -> None:
    """Numbers above a panel, where they cover no data, and that many points over what else is above it."""
    text = re.sub(r"-(?=\d)", "−", "\n".join(line for line in lines if line))
    axes.set_title(text, fontsize=9, fontweight="normal", linespacing=1.35, pad=6 + over)


def ruled(axes: Axes) -> None:
    """Faint lines behind the data to read the vertical axis by."""
    axes.grid(axis="y", color="#eaeef2", linewidth=0.8)
    axes.set_axisbelow(True)


def how_drawn(cells: Sequence[Cell]) -> str:
    """What a point of these cells is, for a caption, and how many there are."""
    medians = [(c.label, median_of_grokked(c)) for c in cells if most_grokked(c)]
    parts = [
        "Large: median grokked_step over the seeds that grokked; small, beside it: single runs.",
        captions.intervals(medians, "Bars"),
    ]
    if any(most_grokked(c) and c.n_grokked < c.n_counted for c in cells):
        parts.append("n/m at a point: n of its m runs grokked, the others are not in its median.")
    if any(not most_grokked(c) for c in cells):
        parts.append("Arrow: half or more of its runs did not grok, so its median lies beyond their budget.")
    return captions.joined(*parts)


def counted(cells: Sequence[Cell]) -> str:
    """`7 cells, 112 runs, 111 grokked`."""
    n_runs = sum(c.n_counted for c in cells)
    n_grokked = sum(c.n_grokked for c in cells)
    return f"{numbers.count(len(cells), 'cell')}, {numbers.count(n_runs, 'run')}, {n_grokked:,} grokked"


def steps_told(cell: Cell) -> str:
    """The cell's T with its interval, in words."""
    if not most_grokked(cell):
        return f"beyond the budget ({cell.n_grokked} of {cell.n_counted} grokked)"
    return numbers.told(median_of_grokked(cell))
