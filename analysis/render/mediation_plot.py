"""Mediation: effects in both conventions beside how they depend on what no table can hold, the errors' correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.mediation import Mediation, MediationFit, SensitivityPoint
from grok_sweeps.analysis.render import captions
from grok_sweeps.analysis.render.canvas import MUTED, Drawing, blank_figure, entitle
from grok_sweeps.analysis.render.forest import (
    FIRST,
    MARK,
    PAPER,
    RUNS,
    SECOND,
    Forest,
    Row,
    Series,
    dots,
    figure_of,
    panels,
    point,
)
from grok_sweeps.analysis.result import Family

EFFECTS = (
    ("acme", "ACME\nthrough ln L"),
    ("ade", "ADE\nbeside ln L"),
    ("total_effect", "total effect"),
)
_ZEROS = (("acme_zero_correlation", "on x alone"), ("acme_zero_correlation_given_tau", "given τ"))


@dataclass(frozen=True, slots=True)
class _Look:
    """How a curve and its zero are drawn."""

    series: Series
    dash: Any
    alpha: float


_ALONE, _GIVEN_TAU = _Look(FIRST, "-", 0.18), _Look(SECOND, (0, (4, 1.8)), 0.24)
_RISE = 4.5
"""Points that each of two zeros is off the line at zero, so that they do not overlap."""


def mediation_plot(family: Family, name: str) -> Drawing:
    """Draw ACME, ADE and total effect in both conventions, and the sensitivity curves of one."""
    fitted = family.mediation
    fit = curve_fit(fitted)
    named = [
        (f"{label.splitlines()[0]} ({one.convention})", one[key])
        for one in (fitted.paper, fitted.runs)
        for key, label in EFFECTS
    ]
    zeros = [(f"correlation at which ACME is zero, {words} ({fit.convention})", fit[key]) for key, words in _ZEROS]
    caption = captions.joined(
        "Left: effect of raising the dose from x = 0 to x = 1 on ln T, in ln steps: through ln L (ACME), beside it "
        f"(ADE), and both. Models, convention {fit.convention}: {captions.without_interval(fit.method)} Right, the "
        "same convention: ACME if the errors of the two models correlated as the horizontal axis says. Solid: both "
        "models on x alone; dashed: given τ, as on the left, so that at 0 it is the ACME there. Bands: interval at "
        "each correlation. Markers: where ACME would be zero, with interval, set a "
        "little off the line at zero where there are two.",
        captions.conventions(fitted.paper.estimates, fitted.runs.estimates),
        captions.intervals([*named, *zeros]),
        captions.absences([*named, *zeros]),
        fitted.caveat,
    )
    alt = (
        f"Two panels. Left, effects in ln step: {captions.spoken(named)}. Right, ACME over the error correlation, "
        f"convention {fit.convention}: {_spoken(fit)}; {captions.spoken(zeros)}."
    )
    heading = "Mediation: how much of the dose's effect runs through the logit scale"
    return Drawing(name, heading, caption, alt, lambda: _paint(fitted, fit, family.key.title))


def curve_fit(fitted: Mediation) -> MediationFit:
    """The convention whose curves are drawn: `runs`, where a disturbance of one run has a meaning, if it has any."""
    return fitted.runs if fitted.runs.curve else fitted.paper


def _spoken(fit: MediationFit) -> str:
    at = (fit.curve[0], fit.curve[len(fit.curve) // 2], fit.curve[-1]) if fit.curve else ()
    return ", ".join(f"{p.acme:.3f} at {p.correlation:g}" for p in at) or "none"


def _paint(fitted: Mediation, fit: MediationFit, title: str) -> Figure:
    rows = tuple(Row(label, (point(fitted.paper[key]), point(fitted.runs[key]))) for key, label in EFFECTS)
    forest = Forest((PAPER, RUNS), rows)
    figure = blank_figure(10.0, max(4.2, forest.inches + 0.6))
    left, right = panels(figure, 1, 2, width_ratios=(1, 1.35))
    forest.paint(left, references=(0.0,))
    left.set(xlabel="effect on ln T (ln step)", title="Effects")
    curves = _sensitivity(right, fit)
    figure.legend(handles=forest.handles, loc="outside lower left", ncols=2)
    figure.legend(handles=curves, loc="outside lower right", ncols=2, handlelength=2.8)
    entitle(figure, title)
    return figure


def _sensitivity(axes: Axes, fit: MediationFit) -> list[Line2D]:
    """Paint the curves; marks for the legend."""
    for line in (axes.axhline, axes.axvline):
        line(0.0, color=MUTED, linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=1)
    axes.set(
        xlim=(-1.04, 1.04),
        xticks=(-1, -0.5, 0, 0.5, 1),
        xlabel="correlation of the two models' errors",
        ylabel="ACME (ln step)",
        title=f"Sensitivity (convention {fit.convention})",
    )
    alone, given_tau = (fit[key] for key, _ in _ZEROS)
    if fit.curve == fit.curve_given_tau:
        return [_curve(axes, fit.curve, alone, _ALONE, "on x alone (τ does not vary)")]
    both = alone.value is not None and given_tau.value is not None
    return [
        _curve(axes, fit.curve, alone, _ALONE, "both models on x alone", _RISE if both else 0.0),
        _curve(axes, fit.curve_given_tau, given_tau, _GIVEN_TAU, "given τ", -_RISE if both else 0.0),
    ]


def _curve(
    axes: Axes, curve: Sequence[SensitivityPoint], zero: Estimate, look: _Look, words: str, rise: float = 0.0
) -> Line2D:
    series = look.series
    x = [p.correlation for p in curve]
    banded = [(p.correlation, *p.interval) for p in curve if p.interval is not None]
    if banded:
        at, low, high = zip(*banded, strict=True)
        axes.fill_between(at, low, high, color=series.colour, alpha=look.alpha, linewidth=0, zorder=2)
        for end in (low, high):
            axes.plot(at, end, color=series.colour, linewidth=0.6, linestyle=look.dash, zorder=2)
    axes.plot(x, [p.acme for p in curve], color=series.colour, linewidth=1.8, linestyle=look.dash, zorder=3)
    risen = offset_copy(axes.transData, figure_of(axes), y=rise, units="points")
    dots(axes, series, [(point(zero), 0.0)], risen)
    return Line2D([], [], linewidth=1.8, linestyle=look.dash, label=words, markersize=MARK, **series.look)
