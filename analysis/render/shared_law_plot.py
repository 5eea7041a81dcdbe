"""One exponent for all moduli: grokking step over the dose, a line of the common slope through each modulus' cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from grok_sweeps.analysis.comparisons import Comparison
from grok_sweeps.analysis.estimators.law import MIN_CELLS
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import DASHES, MARKERS, Drawing, blank_figure, entitle, log_steps, tau_colours
from grok_sweeps.analysis.render.cell_points import (
    Look,
    at_values,
    counted,
    draw_steps,
    how_drawn,
    noted,
    ruled,
    size_for,
    step_range,
    steps_told,
)
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.cells import median_of_grokked


def shared_law_plot(comparison: Comparison, families: Sequence[Family], name: str) -> Drawing:
    """Draw the cells of each modulus' law with the slope that they share."""
    laws = [f for f in families if len(f.law.cells) >= MIN_CELLS]
    cells = [c for f in laws for c in f.law.cells]
    caption = captions.joined(
        f"τ 1. {how_drawn(cells)} Points of one ρ are set apart by modulus. Lines: the one slope common to all moduli "
        "(least squares of ln T on ρ with an intercept for each), each through the mean of its modulus' cells.",
        captions.intervals([("common slope", comparison["shared_alpha_rho"])], "Brackets"),
        "p: F test of one slope a modulus against one for all; equality that is not rejected is not thereby shown. "
        "Only cells in which the law is fitted are drawn. "
        f"{len(laws)} moduli, {counted(cells)}.",
    )
    points = "; ".join(
        f"p {_modulus(f)}: " + ", ".join(f"ρ {numbers.dose(c.rho or 0.0)} {steps_told(c)}" for c in f.law.cells)
        for f in laws
    )
    alt = f"Median grokked step (log) over dose, one marker a modulus. {'; '.join(_notes(comparison))}. {points}."
    return Drawing(name, "One exponent for all moduli", caption, alt, lambda: _paint(comparison, laws))


def _modulus(family: Family) -> float:
    return float(dict(family.key.config)["p"] or 0)


def _notes(comparison: Comparison) -> tuple[str, ...]:
    slope, p = comparison["shared_alpha_rho"], comparison["equal_alpha_rho_p"]
    spread = comparison["alpha_rho_max_over_min"]
    lines = []
    if slope.value is not None:
        lines.append(f"common slope α = {numbers.told(slope)} per unit of ρ")
    if p.value is not None:
        lines.append(f"equal slopes: p = {p.value:.2g}")
    if spread.value is not None:
        lines.append(f"largest / smallest slope of a modulus: {numbers.told(spread)}")
    return tuple(lines)


def _paint(comparison: Comparison, laws: Sequence[Family]) -> Figure:
    figure = blank_figure(6.8, 5.0)
    axes = figure.add_subplot()
    moduli = sorted({_modulus(f) for f in laws})
    colours = tau_colours(moduli)
    slope = comparison["shared_alpha_rho"].value
    cells = [c for f in laws for c in f.law.cells]
    gap = min(np.diff(sorted({c.rho or 0.0 for c in cells})), default=0.1)
    handles = []
    for place, family in enumerate(laws):
        used, p = family.law.cells, _modulus(family)
        look = Look(colours[p], MARKERS[moduli.index(p) % len(MARKERS)], size=size_for(len(cells) // 2))
        shift = 0.6 * gap * ((place + 0.5) / len(laws) - 0.5)
        draw_steps(axes, [(c.rho or 0.0) + shift for c in used], used, look)
        handles.append(look.handle(f"p = {p:g}"))
        if slope is not None:
            rho = np.array([c.rho or 0.0 for c in used])
            centre = np.mean([np.log(median_of_grokked(c).value or 1.0) for c in used])
            ends = np.array([rho.min(), rho.max()])
            line = np.exp(centre + slope * (ends - rho.mean()))
            axes.plot(ends, line, color=look.colour, linewidth=1.2, linestyle=DASHES[place % len(DASHES)], zorder=1.8)
    log_steps(axes, "y", *step_range(cells))
    at_values(axes, [c.rho or 0.0 for c in cells], numbers.dose)
    ruled(axes)
    axes.set(xlabel="dose ρ (held norm / w_c)", ylabel="grokked step T (log)")
    noted(axes, *_notes(comparison))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    common = (part for part in laws[0].key.title.split(", ") if not part.startswith("p = "))
    entitle(figure, ", ".join((*common, f"{len(laws)} moduli")))
    return figure
