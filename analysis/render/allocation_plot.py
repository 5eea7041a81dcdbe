"""One total norm split differently between layers: median grokking step over gamma, and L beside it."""

from __future__ import annotations

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.allocation import allocated_cells
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import Drawing
from grok_sweeps.analysis.render.cell_points import counted, how_drawn, scale_of, steps_told
from grok_sweeps.analysis.render.over_axis import Over, ratios_told, steps_and_scales
from grok_sweeps.analysis.result import Family

_OVER = Over("allocation γ", lambda c: c.gamma or 0.0)

_ABOVE = {
    "max_over_min": "largest / smallest T",
    "logit_scale_max_over_min": "largest / smallest L",
    "r2_logit_scale": "R² of ln T with L",
}


def allocation_plot(family: Family, name: str) -> Drawing:
    """Draw the cells of one family's arm allocation."""
    cells = allocated_cells(family.cells)
    told = {e.name: e for e in family.allocation}
    scale, which = scale_of(cells)
    caption = captions.joined(
        "One total norm; γ is the relative change of the readout's share of it, 0 as in the control. "
        f"{how_drawn(cells)} Right: L; {which}.",
        captions.intervals([(c.label, scale(c)) for c in cells], "Bars of L"),
        "Above: largest over smallest of the medians and of L, and the squared correlation of ln T with L.",
        captions.intervals([(words, told[f"allocation_{name}"]) for name, words in _ABOVE.items()], "Brackets"),
        ratios_told(cells),
        f"{counted(cells)}.",
    )
    points = "; ".join(f"γ {c.gamma:g}: T {steps_told(c)}, L {numbers.told(scale(c))}" for c in cells)
    ratios = ", ".join(sum(_notes(told), ()))
    alt = f"Two panels over allocation: median grokked step (log) and logit scale. {ratios}. {points}."
    title = family.key.title
    return Drawing(name, "Layer allocation", caption, alt, lambda: steps_and_scales(cells, _OVER, title, _notes(told)))


def _notes(told: dict[str, Estimate]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    t, *others = (f"{words}: {numbers.told(told[f'allocation_{name}'])}" for name, words in _ABOVE.items())
    return (t,), tuple(others)
