"""The common look of the figures, and their bytes.

Colours are sequential in lightness, so they survive greyscale and colour blindness; tau has its own marker too.
Output is deterministic: no dates, and SVG ids from the figure's name.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from PIL import Image

PNG_DPI = 200
INK, MUTED, FAINT = "#1f2328", "#57606a", "#d0d7de"
DASHES: tuple[Any, ...] = (
    "-",
    (0, (6, 2)),
    (0, (2.5, 1.5)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (1, 1.2)),
    (0, (8, 1.5, 2, 1.5, 2, 1.5)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "*")

_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # else every layout and drawing looks for a free height, by measuring all labels anew
    "axes.labelsize": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.color": "#8c959f",
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
    "text.hinting": "none",  # words as wide in pixels as in the SVG, which has the same layout; and faster
}
_ROUNDING = 1e-9
_OF_THE_PROCESS = ("backend", "backend_fallback", "interactive", "timezone")
"""Settings of matplotlib that say nothing of how a figure looks."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure to be painted: file stem, heading, what it shows and how, and the words for who cannot see it."""

    name: str
    heading: str
    caption: str
    alt: str
    paint: Callable[[], Figure]

    def _repr_svg_(self) -> str:
        """The figure, in a notebook."""
        return svg(self).decode()


def png(drawing: Drawing) -> bytes:
    """The figure as PNG at 200 dpi."""
    with _laid_out(drawing) as figure:
        pixels = _pixels(figure)
    return encoded(pixels)


def svg(drawing: Drawing) -> bytes:
    """The figure as SVG, letters as paths."""
    with _laid_out(drawing) as figure:
        return _svg(figure)


def both(drawing: Drawing) -> tuple[memoryview, bytes]:
    """The pixels, to be `encoded` as PNG, and the SVG of one painting."""
    with _laid_out(drawing) as figure:
        return _pixels(figure), _svg(figure)


def encoded(pixels: memoryview) -> bytes:
    """The pixels [height, width, RGBA], all opaque, as PNG; most of it runs beside other threads."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(pixels)).convert("RGB")
    image.save(buffer, "png", dpi=(PNG_DPI, PNG_DPI), compress_level=4)
    return buffer.getvalue()


def why_not(error: Exception) -> str:
    """Why a figure could not be drawn, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":.")


@contextmanager
def _laid_out(drawing: Drawing) -> Iterator[Figure]:
    """Paint and lay out once: `savefig` would lay out anew, and draw once more for it, for every format.

    The user's style and rc have no part in it.
    """
    plain = {name: value for name, value in mpl.rcParamsDefault.items() if name not in _OF_THE_PROCESS}
    with mpl.rc_context({**plain, **_STYLE, "svg.hashsalt": drawing.name}):
        figure = drawing.paint()
        layout = figure.get_layout_engine()
        if layout is not None and figure.axes:
            layout.execute(figure)
        figure.set_layout_engine("none")
        yield figure


def _pixels(figure: Figure) -> memoryview:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg), "the canvas that laid it out knows the sizes of its words"
    canvas.draw()
    return memoryview(canvas.buffer_rgba())


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def blank_figure(width: float, height: float) -> Figure:
    """A white figure of that many inches with its own canvas, laid out to fit its labels."""
    figure = Figure(figsize=(width, height), dpi=PNG_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def entitle(figure: Figure, title: str) -> None:
    """What the figure is of, above all panels, in lines that fit its width."""
    text = textwrap.fill(title, int(11 * figure.get_figwidth()))
    figure.suptitle(text, x=0.01, ha="left", fontsize=10.5, fontweight="bold")


def words(reason: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = blank_figure(6.4, 2.2)
    text = "\n".join(textwrap.wrap(f"Nothing to draw: {reason}", 70))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, fontsize=11)
    return figure


def tau_colours(taus: Sequence[float]) -> dict[float, tuple[float, float, float, float]]:
    """One colour a tau, dark to light with rising tau, none too light for white paper."""
    ramp = mpl.colormaps["viridis"]
    last = max(1, len(taus) - 1)
    return {tau: ramp(0.82 * i / last) for i, tau in enumerate(sorted(taus))}


def tau_markers(taus: Sequence[float]) -> dict[float, str]:
    """One marker a tau."""
    return {tau: MARKERS[i % len(MARKERS)] for i, tau in enumerate(sorted(taus))}


class LogTicks(LogLocator):
    """Ticks of a log axis within its limits; those beyond, which LogLocator adds, are measured and never seen."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Places of the ticks."""
        ticks = np.asarray(super().tick_values(vmin, vmax))
        low, high = sorted((vmin, vmax))
        return ticks[(ticks >= low * (1 - _ROUNDING)) & (ticks <= high * (1 + _ROUNDING))]


def log_steps(axes: Axes, which: str, low: float, high: float, *, sparse: bool = False) -> None:
    """Log axis of steps with plain numbers at 1, 2 and 5 (sparse: 1 and 3), also where it spans less than a decade."""
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    _steps(axes.yaxis if which == "y" else axes.xaxis, high / low, sparse=sparse)


def log_bar(bar: Any, low: float, high: float) -> None:
    """Plain numbers on a colour bar of steps."""
    _steps(bar.ax.yaxis, high / low)


def _steps(axis: Axis, ratio: float, *, sparse: bool = False) -> None:
    """Ticks with numbers; small ones between them only where the numbers are at the decades alone."""
    numbered = (1.0, 3.0) if sparse and 8 < ratio <= 300 else _ticks(ratio)
    axis.set_major_locator(LogTicks(subs=numbered))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axis.set_minor_locator(LogTicks(subs=(2.0, 3.0, 5.0)) if numbered == (1.0,) else NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _ticks(ratio: float) -> tuple[float, ...]:
    if ratio > 300:
        return (1.0,)
    if ratio > 30:
        return (1.0, 2.0, 5.0)
    return (1.0, 2.0, 3.0, 5.0, 7.0) if ratio > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
