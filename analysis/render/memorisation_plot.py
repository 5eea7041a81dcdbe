"""What the temperature does to memorisation and to grokking: both medians over tau, on log axes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from grok_sweeps.analysis.estimators.memorisation import swept_cells
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import INK, MUTED, Drawing, blank_figure, entitle, log_steps
from grok_sweeps.analysis.render.cell_points import (
    Look,
    counted,
    draw_steps,
    how_drawn,
    noted,
    ruled,
    size_for,
    step_range,
    steps_told,
)
from grok_sweeps.analysis.render.over_axis import joined
from grok_sweeps.analysis.render.transformer_plot import OVER_TAU
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.cells import Cell, median_of_grokked


def memorisation_plot(family: Family, name: str) -> Drawing:
    """Draw memorized_step and grokked_step of one family at the dose that has the most temperatures."""
    cells = swept_cells(family.cells)
    rho = numbers.dose(cells[0].rho or 0.0) if cells else ""
    caption = captions.joined(
        f"ρ {rho}. {how_drawn(cells)} Squares: median memorized_step (first reading with train accuracy ≥ 0.99), "
        "likewise. An elasticity is the slope of ln step on ln τ, 0 is no effect; the delay is grokked_step less "
        "memorized_step.",
        captions.intervals(_told(family), "Brackets"),
        f"{counted(cells)}.",
    )
    points = "; ".join(
        f"τ {c.tau:g}: memorized {numbers.told(c.memorized_step)}, grokked {steps_told(c)}" for c in cells
    )
    alt = f"Median memorized and grokked step over temperature, log axes. {'; '.join(_notes(family))}. {points}."
    return Drawing(
        name, "Memorisation and grokking over temperature", caption, alt, lambda: _paint(family, cells, f"ρ = {rho}")
    )


def _told(family: Family) -> list[captions.Named]:
    told = {e.name: e for e in family.memorisation}
    wanted = (
        ("memorized_elasticity_tau", "elasticity of memorized_step"),
        ("delay_elasticity_tau", "elasticity of the delay"),
        ("delay_share_of_tau_effect", "share of τ's effect that is in the delay"),
    )
    return [(words, told[name]) for name, words in wanted]


def _notes(family: Family) -> tuple[str, ...]:
    return tuple(f"{words}: {numbers.told(e)}" for words, e in _told(family) if e.value is not None)


def _paint(family: Family, cells: Sequence[Cell], dose: str) -> Figure:
    figure = blank_figure(6.8, 4.8)
    axes = figure.add_subplot()
    size = size_for(len(cells))
    grokked, memorized = Look(INK, size=size), Look(MUTED, "s", hollow=True, size=size)
    draw_steps(axes, [c.tau for c in cells], cells, grokked)
    memorized.draw(axes, [(c.tau, c.memorized_step, [r.memorized_step for r in c.runs]) for c in cells])
    joined(axes, cells, OVER_TAU, lambda c: median_of_grokked(c).value)
    joined(axes, cells, OVER_TAU, lambda c: c.memorized_step.value)
    log_steps(axes, "y", *step_range(cells, memorized=True))
    OVER_TAU.ticked(axes, cells)
    ruled(axes)
    axes.set_ylabel(f"step (log), at {dose}")
    noted(axes, *_notes(family))
    handles = [grokked.handle("grokked (test accuracy ≥ 0.90)"), memorized.handle("memorised (train accuracy ≥ 0.99)")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    entitle(figure, family.key.title)
    return figure
