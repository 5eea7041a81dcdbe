"""Loss dissociation: how far the raised norm moves the grokking step and the logit scale under each loss."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from grok_sweeps.analysis.comparisons import Comparison
from grok_sweeps.analysis.estimators.dissociation import LOSSES
from grok_sweeps.analysis.estimators.recovery import RHO_UP
from grok_sweeps.analysis.methods.medians import ALL_RUNS
from grok_sweeps.analysis.render import captions
from grok_sweeps.analysis.render.canvas import Drawing, blank_figure, entitle
from grok_sweeps.analysis.render.forest import FIRST, FRAME, SECOND, THIRD, Forest, Row, panels, point
from grok_sweeps.analysis.result import Family

_SERIES = (FIRST.named("cross-entropy (ce)"), SECOND.named("squared error (mse)"))
_SHARE = "norm_effect_mse_over_ce"


def dissociation_plot(comparison: Comparison, families: Sequence[Family], name: str) -> Drawing:  # noqa: ARG001
    """Draw the ratios raised over baseline of T and L by loss, and the share of the norm effect left under mse."""
    named = [
        (f"{words.split(chr(10))[0]} under {loss}", comparison[f"{key}_{loss}{suffix}"])
        for words, key, suffix in _kinds(comparison)
        for loss in LOSSES
    ]
    share = ("share of the norm effect left under mse", comparison[_SHARE])
    fixed = [e for _, e in named if e.interval is not None and e.interval[0] == e.interval[1]]
    caption = captions.joined(
        f"Top: T (median grokked_step) and L at ρ = {RHO_UP:g} over those at ρ = 1, both at τ = 1. Bottom: ln of the "
        "ratio of T under mse over the same under ce: 0 if the norm acted through L alone and L stayed in place under "
        "mse, 1 if the loss made no difference. Dotted: those two, and no effect.",
        "; ".join(f"{loss}: {captions.counts(comparison[f'norm_up_ratio_{loss}'])}" for loss in LOSSES) + ".",
        captions.intervals([*named, share]),
        "An interval without width: the cells' readings are the same for all seeds." if fixed else "",
        captions.absences([*named, share]),
    )
    alt = f"Forest plot, ρ {RHO_UP:g} over ρ 1: {captions.spoken([*named, share])}."
    heading = "Loss dissociation: what a raised norm does under each loss"
    return Drawing(name, heading, caption, alt, lambda: _paint(comparison))


def _kinds(comparison: Comparison) -> tuple[tuple[str, str, str], ...]:
    """Label, estimate and suffix of each row; T with the runs that did not grok only where that is another number."""
    step, scale = ("grokking step T", "norm_up_ratio", ""), ("logit scale L", "logit_scale_up_ratio", "")
    differs = any(
        comparison[f"norm_up_ratio_{loss}"].value != comparison[f"norm_up_ratio_{loss}{ALL_RUNS}"].value
        for loss in LOSSES
    )
    return (step, ("T, runs that did\nnot grok as +∞", "norm_up_ratio", ALL_RUNS), scale) if differs else (step, scale)


def _paint(comparison: Comparison) -> Figure:
    ratios = Forest(
        _SERIES,
        tuple(
            Row(words, tuple(point(comparison[f"{key}_{loss}{suffix}"]) for loss in LOSSES))
            for words, key, suffix in _kinds(comparison)
        ),
    )
    share = Forest((THIRD,), (Row("share of the norm\neffect under mse", (point(comparison[_SHARE]),)),))
    figure = blank_figure(7.4, ratios.inches + share.inches + 0.6)
    top, bottom = panels(figure, 2, 1, height_ratios=(ratios.inches - FRAME, share.inches - FRAME))
    ratios.paint(top, log=True, references=(1.0,))
    share.paint(bottom, references=(0.0, 1.0))
    top.set(xlabel=f"ratio, ρ {RHO_UP:g} over ρ 1 (log)")
    bottom.set(xlabel="ln ratio of T under mse / under ce")
    figure.legend(handles=ratios.handles, loc="outside lower left", ncols=2)
    entitle(figure, comparison.title)
    return figure
