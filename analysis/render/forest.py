"""Forest plots: labelled estimates as dots with their intervals on one axis, and the numbers at the right edge.

A row has one line for each series (a convention, a loss, a precision), from the top down. Series differ in marker and
in being filled, so colour is never needed. A series without any number is left out of the drawing; a single number that
is absent is a dash with the reason cut short: the caption has to give both in full (`captions.absences`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Transform, offset_copy

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.render import numbers
from grok_sweeps.analysis.render.canvas import FAINT, INK, MUTED, LogTicks

LINE = 0.215
"""Height of a line in inches."""
BOUND = ">"
"""Marker of a lower bound."""
BETWEEN = 0.55
"""Free lines between two rows."""
FRAME = 0.95
"""Inches that title, tick labels and axis label take beside the lines."""
SHADE = "#e7ebef"
"""Grey of a margin."""
MARK = 5.6
"""Size of a dot in points."""
_SMALL = 8.5
_REASON = 30


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of dot."""

    name: str
    marker: str
    colour: str
    filled: bool

    def named(self, name: str) -> Series:
        """The same look for something else."""
        return replace(self, name=name)

    @property
    def handle(self) -> Line2D:
        """Its mark in a legend."""
        return Line2D([], [], label=self.name, linewidth=1.4, markersize=MARK, **self.look)

    @property
    def look(self) -> dict[str, Any]:
        """Options of `plot`."""
        face = self.colour if self.filled else "white"
        return {"color": self.colour, "marker": self.marker, "markerfacecolor": face, "markeredgewidth": 1.3}


FIRST = Series("estimate", "o", "#1b3a5c", True)
SECOND = Series("estimate", "s", "#b5541c", False)
THIRD = Series("estimate", "D", "#57606a", False)
PAPER, RUNS = FIRST.named("convention paper"), SECOND.named("convention runs")


@dataclass(frozen=True, slots=True)
class Point:
    """A dot with its whiskers, `text` beside it; `is_bound` where the truth lies at or above the value."""

    value: float | None
    interval: tuple[float, float] | None
    text: str
    is_bound: bool = False

    @property
    def ends(self) -> tuple[float, ...]:
        """All that the axis has to hold."""
        return tuple(v for v in (self.value, *(self.interval or ())) if v is not None)


def point(estimate: Estimate, *, is_bound: bool = False) -> Point:
    """An estimate as a dot; one without value is a dash and the beginning of its reason."""
    if estimate.value is None:
        return no_point(estimate.reason)
    text = f"≥ {numbers.value(estimate)}" if is_bound else numbers.value(estimate)
    return Point(
        estimate.value,
        estimate.interval,
        (text if estimate.interval is None else f"{text} {numbers.interval(estimate)}").replace("-", "−"),
        is_bound,
    )


def no_point(reason: str) -> Point:
    """A dash and the beginning of the reason."""
    return Point(None, None, f"{numbers.NONE} {textwrap.shorten(reason, _REASON, placeholder=' …')}")


@dataclass(frozen=True, slots=True)
class Row:
    """One label with a point for each series; `tick` is a small bar across its lines.

    `note` stands at the far right: its text, and whether it is emphasised.
    """

    label: str
    points: tuple[Point, ...]
    tick: float | None = None
    note: tuple[str, bool] | None = None


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows of points, `series` in the order of a row's points."""

    series: tuple[Series, ...]
    rows: tuple[Row, ...]

    @property
    def shown(self) -> tuple[int, ...]:
        """Places of the series that have a number."""
        return tuple(i for i in range(len(self.series)) if any(r.points[i].value is not None for r in self.rows))

    @property
    def handles(self) -> list[Line2D]:
        """Marks of the series shown, for a legend."""
        return [self.series[i].handle for i in self.shown]

    @property
    def inches(self) -> float:
        """Height of a figure or panel that holds it."""
        return FRAME + LINE * self._lines * len(self.rows)

    def paint(
        self,
        axes: Axes,
        *,
        log: bool = False,
        references: Sequence[float] = (),
        margin: float | None = None,
        within: tuple[float, float] | None = None,
    ) -> None:
        """Draw it; `references` are dotted, ±`margin` is shaded, `within` are the ends of the axis (else all is shown).

        A log axis needs positive numbers; where one is not, the axis is linear.
        """
        ends = [*self._ends(), *references, *((-margin, margin) if margin else ())]
        log = log and min(ends, default=1.0) > 0
        if margin:
            axes.axvspan(-margin, margin, color=SHADE, linewidth=0, zorder=0)
        for at in references:
            axes.axvline(at, color=MUTED, linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=1)
        _scale(axes, min(ends, default=0.0), max(ends, default=1.0), log=log, within=within)
        middles = [(i + 0.5) * self._lines for i in range(len(self.rows))]
        texts = []
        for row, middle in zip(self.rows, middles, strict=True):
            if all(p.value is None for p in row.points):
                texts.append(_number(axes, row.points[0], middle))
            else:
                texts += [_number(axes, row.points[place], y) for place, y in self._heights(middle)]
        for place in self.shown:
            heights = (dict(self._heights(middle))[place] for middle in middles)
            dots(axes, self.series[place], [(r.points[place], y) for r, y in zip(self.rows, heights, strict=True)])
        reach = 0.45 * len(self.shown)
        ticks = [
            (r.tick, r.tick, y - reach, y + reach)
            for r, y in zip(self.rows, middles, strict=True)
            if r.tick is not None
        ]
        _segments(axes, ticks, color=INK, linewidth=2.2, zorder=2)
        between = [(0.0, 1.0, i * self._lines, i * self._lines) for i in range(1, len(self.rows))]
        _segments(axes, between, color=FAINT, linewidth=0.6, zorder=0, transform=axes.get_yaxis_transform())
        axes.set_ylim(self._lines * len(self.rows), 0.0)
        axes.set_yticks(middles, [r.label for r in self.rows], fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=9)
        axes.spines["left"].set_visible(False)
        _notes(axes, middles, [r.note for r in self.rows], texts)

    def _heights(self, middle: float) -> Iterator[tuple[int, float]]:
        """Place and height of each series that is shown, in the row about that height."""
        first = middle - (len(self.shown) - 1) / 2
        yield from ((place, first + line) for line, place in enumerate(self.shown))

    @property
    def _lines(self) -> float:
        """Height of every row, in lines."""
        words = [r.label for r in self.rows] + [r.note[0] for r in self.rows if r.note is not None]
        return BETWEEN + max(1.0, len(self.shown), *(0.85 * (text.count("\n") + 1) for text in words))

    def _ends(self) -> Iterator[float]:
        for row in self.rows:
            yield from (row.tick,) if row.tick is not None else ()
            for place in self.shown:
                yield from row.points[place].ends


def dots(axes: Axes, series: Series, drawn: Sequence[tuple[Point, float]], transform: Transform | None = None) -> None:
    """Points with their whiskers, each at its height, by the axes' data or another transform; nothing where absent."""
    line: dict[str, Any] = {"color": series.colour, "transform": transform or axes.transData, "zorder": 4}
    ranged = [(*p.interval, y, y) for p, y in drawn if p.interval is not None]
    _segments(axes, ranged, linewidth=1.4, solid_capstyle="butt", **line)
    ends = [(x, y) for low, high, y, _ in ranged for x in (low, high)]
    _marks(axes, ends, marker="|", markersize=8, **line)
    look = line | series.look | {"markersize": MARK, "clip_on": False}
    _marks(axes, [(p.value, y) for p, y in drawn if p.value is not None and not p.is_bound], **look)
    bounds = [(p.value, y) for p, y in drawn if p.value is not None and p.is_bound]
    _marks(axes, bounds, **look | {"marker": BOUND})


def _segments(axes: Axes, ends: Sequence[tuple[float, float, float, float]], **look: Any) -> None:
    """Straight lines (x, x, y, y), as one artist: many are slow."""
    if ends:
        broken = np.insert(np.array(ends), (2, 4), np.nan, axis=1)
        axes.plot(broken[:, :3].ravel(), broken[:, 3:].ravel(), **look)


def _marks(axes: Axes, places: Sequence[tuple[float, float]], **look: Any) -> None:
    """Markers (x, y), as one artist."""
    if places:
        axes.plot([x for x, _ in places], [y for _, y in places], linestyle="none", **look)


def figure_of(axes: Axes) -> Figure:
    """The figure that holds the axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _number(axes: Axes, drawn: Point, y: float) -> Text:
    return axes.text(
        1,
        y,
        drawn.text,
        transform=_beside(axes, 0.1),
        va="center",
        fontsize=_SMALL,
        color=MUTED if drawn.value is None else INK,
    )


def _notes(
    axes: Axes, middles: Sequence[float], notes: Sequence[tuple[str, bool] | None], texts: Sequence[Text]
) -> None:
    """Notes in a column of their own, right of the widest number."""
    if not any(notes):
        return
    widest = max(t.get_window_extent().width for t in texts) / figure_of(axes).dpi
    for y, note in zip(middles, notes, strict=True):
        if note is not None:
            axes.text(
                1,
                y,
                note[0],
                transform=_beside(axes, 0.25 + widest),
                va="center",
                fontsize=_SMALL,
                color=INK if note[1] else MUTED,
                fontweight="bold" if note[1] else "normal",
            )


def _beside(axes: Axes, inches: float) -> Transform:
    """X = 1 is that far right of the axes, y as in the data."""
    return offset_copy(axes.get_yaxis_transform(), figure_of(axes), x=inches)


def _scale(axes: Axes, low: float, high: float, *, log: bool, within: tuple[float, float] | None) -> None:
    axis = axes.xaxis
    if log:
        axes.set_xscale("log")
        low, high = (low, high) if low > 0 else (1.0, 10.0)  # of no value at all
        room = max(0.06 * math.log(high / low), 0.02)
        axes.set_xlim(low * math.exp(-room), high * math.exp(room))
        axis.set_major_locator(_log_ticks(high / low))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        room = 0.06 * (high - low) or 0.5
        axes.set_xlim(*(within or (low - room, high + room)))
        axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}".replace("-", "−")))


def _log_ticks(ratio: float) -> Locator:
    """As many as leave room for labels such as 20,000 between them in a panel of half a figure."""
    if ratio <= 1.6:
        return MaxNLocator(4)
    if ratio <= 5:
        return LogTicks(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))
    return LogTicks(subs=(1.0, 2.0, 5.0) if ratio <= 20 else (1.0, 3.0) if ratio <= 300 else (1.0,))


def panels(figure: Figure, rows: int, columns: int, **options: Any) -> Any:
    """Axes of a figure with room for the numbers beside each, as `subplots` gives them."""
    return figure.subplots(rows, columns, gridspec_kw={"wspace": 0.06, "hspace": 0.08, **options})
