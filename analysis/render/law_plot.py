"""The exponential law: median grokking step over the held norm, and the three forms that were fitted to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grok_sweeps.analysis.estimators.law import Law
from grok_sweeps.analysis.methods.forms import EXPONENTIAL, POWER, SADDLE_NODE
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import INK, MUTED, Drawing, blank_figure, entitle, log_steps
from grok_sweeps.analysis.render.cell_points import (
    Look,
    apart,
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
from grok_sweeps.analysis.table.cells import Cell

_FORMS = {
    EXPONENTIAL: ("-", 1.6, INK),
    POWER: ((0, (6, 2.5)), 1.0, INK),
    SADDLE_NODE: ((0, (5, 1.5, 1, 1.5)), 1.0, MUTED),
}
_AIC = {POWER: ("power law", "delta_aic_power"), SADDLE_NODE: ("saddle-node", "delta_aic_saddle_node")}

TOP_AXIS = 36.0
"""Height in points of an axis above a panel: ticks, their numbers, its label."""


def law_plot(family: Family, name: str) -> Drawing:
    """Draw the doses at tau 1 of one family with the fitted forms; cells without part in the fit are hollow."""
    law = family.law
    unused = _unused(family)
    shown = (*law.cells, *unused)
    r2 = law["r_squared"]
    caption = captions.joined(
        f"{how_drawn(shown)} Lines: least squares of ln T on the {_x_name(law)} over the filled cells "
        f"({counted(law.cells)}), at τ 1: exponential (dotted where continued), power law and saddle-node; ΔAIC: a "
        "form's AIC minus that of the exponential, positive favours the exponential, below about 2 is no evidence.",
        captions.intervals([*_exponents(law), ("R²", r2)], "Brackets"),
        _why_hollow(family, unused),
    )
    points = "; ".join(f"ρ {numbers.dose(c.rho or 0.0)}: {steps_told(c)}" for c in shown)
    alt = (
        f"Median grokked step on a log axis over the {_x_name(law)}, rising; α {_alpha(law)}; R² {numbers.told(r2)}; "
        f"{'; '.join(_told_aic(law, form) for form in _AIC)}. {points}."
    )
    return Drawing(
        name, "Exponential law: grokking step over the held norm", caption, alt, lambda: _paint(family, unused)
    )


def _x_name(law: Law) -> str:
    return "held norm" if law.by_norm else "dose ρ"


def _alpha(law: Law) -> str:
    per_rho = f"{numbers.told(law['alpha_per_rho'])} per unit of ρ"
    return f"{numbers.told(law['alpha_per_norm_unit'])} per norm unit, {per_rho}" if law.by_norm else per_rho


def _told_aic(law: Law, form: str) -> str:
    title, estimate = _AIC[form]
    delta = law[estimate].value
    return title if delta is None else f"{title}, ΔAIC {delta:+.1f}"


def _unused(family: Family) -> list[Cell]:
    """Clamp cells at tau 1 that have a place on the axis and no part in the fit."""
    law = family.law
    held = [c for c in family.cells if c.arm == "clamp" and c.tau == 1.0 and not c.superseded and c.n_counted]
    return [c for c in held if c not in law.cells and _x(c, law) is not None]


def _x(cell: Cell, law: Law) -> float | None:
    return cell.held_norm if law.by_norm else cell.rho


def _why_hollow(family: Family, unused: Sequence[Cell]) -> str:
    if not unused:
        return ""
    told = dict(s.split(": ", 1) for s in family.law["alpha_per_rho"].left_out if ": " in s)
    reasons = Counter(told.get(c.label, "not usable").split(" (")[0] for c in unused)
    return "Hollow, not in the fit: " + "; ".join(f"{numbers.count(n, 'cell')}, {r}" for r, n in reasons.items()) + "."


def _paint(family: Family, unused: Sequence[Cell]) -> Figure:
    law = family.law
    figure = blank_figure(6.8, 5.0)
    axes = figure.add_subplot()
    size = size_for(len(law.cells) + len(unused))
    for cells, look in ((law.cells, Look(size=size)), (unused, Look(MUTED, hollow=True, size=size))):
        draw_steps(axes, [_x(c, law) or 0.0 for c in cells], cells, look)
    shown = (*law.cells, *unused)
    xs = [_x(c, law) or 0.0 for c in shown]
    log_steps(axes, "y", *step_range(shown))
    ruled(axes)
    handles = _lines(axes, law, max(xs))
    w_c = {c.w_c for c in shown}
    on_top = law.by_norm and len(w_c) == 1
    if law.by_norm:
        axes.set_xlabel("held norm ρ w_c (weight norm)")
        if on_top:
            _doses_on_top(axes, [c.rho or 0.0 for c in shown], w_c.pop() or 1.0)
    else:
        at_values(axes, xs, numbers.dose)
        axes.set_xlabel("dose ρ (held norm / w_c)")
    axes.set_ylabel("grokked step T (log)")
    noted(axes, *_notes(law), over=TOP_AXIS if on_top else 0.0)
    handles = [Look().handle("in the fit"), *handles]
    if unused:
        handles.insert(1, Look(MUTED, hollow=True).handle("not in the fit"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    entitle(figure, family.key.title)
    return figure


def _lines(axes: Axes, law: Law, last: float) -> list[Line2D]:
    """The fitted forms over the cells that they were fitted to; the exponential is continued, dotted, to the last x."""
    fitted = [_x(c, law) or 0.0 for c in law.cells]
    handles = []
    for form in law.forms:
        style, width, colour = _FORMS[form.form]
        x = np.linspace(min(fitted), max(fitted), 200)
        label = f"exponential, R² {numbers.value(law['r_squared'])}"
        if form.form != EXPONENTIAL:
            label = _told_aic(law, form.form)
        (line,) = axes.plot(x, form.steps(x), color=colour, linewidth=width, linestyle=style, zorder=2.5, label=label)
        handles.append(line)
        if form.form == EXPONENTIAL and last > max(fitted):
            beyond = np.linspace(max(fitted), last, 50)
            axes.plot(beyond, form.steps(beyond), color=INK, linewidth=1.0, linestyle=":", zorder=2.5)
    return handles


def _doses_on_top(axes: Axes, rhos: Sequence[float], w_c: float) -> None:
    top = axes.secondary_xaxis("top", functions=(lambda norm: np.divide(norm, w_c), lambda rho: np.multiply(rho, w_c)))
    ticks = apart(rhos)
    top.set_xticks(ticks, [numbers.dose(r) for r in ticks])
    top.set_xlabel(f"dose ρ (w_c = {w_c:.2f})")


def _notes(law: Law) -> tuple[str, ...]:
    r2 = f"R² = {numbers.told(law['r_squared'])}" if law["r_squared"].value is not None else ""
    exponents = (
        f"α = {numbers.told(e)} {words.removeprefix('α ')}" for words, e in _exponents(law) if e.value is not None
    )
    return (", ".join(exponents), r2)


def _exponents(law: Law) -> list[captions.Named]:
    return [("α per norm unit", law["alpha_per_norm_unit"]), ("α per unit of ρ", law["alpha_per_rho"])]
