"""Heat map of the median grokking step over dose and temperature, every cell with its number and its count."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from grok_sweeps.analysis.render import numbers
from grok_sweeps.analysis.render.canvas import FAINT, MUTED, Drawing, blank_figure, log_bar, words
from grok_sweeps.analysis.render.cell_rows import never
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.cells import Cell

_HATCH = "////"


def heatmap(family: Family, name: str) -> Drawing:
    """Draw the clamp cells of one family; a cell without median is hatched and says why."""
    cells = [c for c in family.cells if c.arm == "clamp" and c.rho is not None and not c.superseded]
    n_runs, n_grokked = sum(c.n_counted for c in cells), sum(c.n_grokked for c in cells)
    caption = (
        "Median grokked_step of each cell over its seeds (first reading with test accuracy ≥ 0.90), and how many of "
        f"its counted runs grokked. {numbers.count(len(cells), 'cell')} of arm clamp, {numbers.count(n_runs, 'run')}, "
        f"{n_grokked:,} grokked. A run that spent its budget (censored) or diverged counts as +infinity; failed runs "
        "are not counted. Hatched: no median, since half or more of the runs did not grok. Empty: no runs. "
        "Colour is logarithmic."
    )
    alt = "Heat map of median grokked step: " + "; ".join(f"{c.label}: {', '.join(_lines(c))}" for c in cells)
    heading = "Median grokking step over dose and temperature"
    if not cells:
        return Drawing(name, heading, caption, alt, lambda: words("no run has its norm held at a dose (arm clamp)."))
    return Drawing(name, heading, caption, alt, lambda: _paint(cells, family.key.title))


def _lines(cell: Cell) -> tuple[str, ...]:
    """The median, or why there is none, and the count."""
    counts = f"{cell.n_grokked}/{cell.n_counted} grokked"
    if cell.grokked_step.value is not None:
        return numbers.steps(cell.grokked_step.value), counts
    if not cell.n_counted:
        return ("all failed", numbers.count(cell.n_failed, "run")) if cell.n_failed else ("no usable", "run")
    return *(never(cell) or "no median").split(" or "), counts


def _paint(cells: Sequence[Cell], title: str) -> Figure:
    rhos, taus = sorted({c.rho or 0.0 for c in cells}), sorted({c.tau for c in cells})
    figure = blank_figure(min(16.0, 2.6 + 1.25 * max(2, len(taus))), min(14.0, 1.5 + 0.72 * max(2, len(rhos))))
    axes = figure.add_subplot()
    known = [c.grokked_step.value for c in cells if c.grokked_step.value is not None]
    norm = LogNorm(min(known) / 1.05, max(known) * 1.05) if known else None
    ramp = mpl.colormaps["cividis"]
    at = {(c.rho, c.tau): c for c in cells}
    for row, rho in enumerate(rhos):
        for column, tau in enumerate(taus):
            cell = at.get((rho, tau))
            step = None if cell is None else cell.grokked_step.value
            face = ramp(float(norm(step))) if norm is not None and step is not None else (1.0, 1.0, 1.0, 1.0)
            dark = step is not None and _luminance(face) < 0.18
            axes.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5),
                    1,
                    1,
                    facecolor=face,
                    edgecolor=FAINT if step is None else "white",
                    linewidth=1.2,
                    hatch=_HATCH if cell is not None and step is None else None,
                )
            )
            axes.text(
                column,
                row,
                "no runs" if cell is None else "\n".join(_lines(cell)),
                ha="center",
                va="center",
                fontsize=8.5,
                color="white" if dark else MUTED if cell is None else "black",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5} if cell and step is None else None,
            )
    axes.set(xlim=(-0.5, len(taus) - 0.5), ylim=(-0.5, len(rhos) - 0.5))
    axes.set_xticks(np.arange(len(taus)), [f"{t:g}" for t in taus])
    axes.set_yticks(np.arange(len(rhos)), [numbers.dose(r) for r in rhos])
    axes.set(xlabel="temperature τ (logits / τ)", ylabel="dose ρ (held norm / w_c)", title=title)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    if norm is not None:
        bar = figure.colorbar(ScalarMappable(norm, ramp), ax=axes, fraction=0.08, pad=0.03)
        bar.outline.set_visible(False)
        bar.set_label("median grokked step (log)")
        log_bar(bar, min(known), max(known))
    return figure


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour, 0 to 1: below 0.18 white letters have the higher contrast."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
