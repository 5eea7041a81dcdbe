"""The temperature sweep of the transformer without normalisation: median grokking step over tau, and L beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.recovery import RHO_UP
from grok_sweeps.analysis.estimators.transformer import TAU_HIGH
from grok_sweeps.analysis.methods.medians import held_at
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import Drawing, words
from grok_sweeps.analysis.render.cell_points import BASELINE, counted, how_drawn, scale_of, steps_told
from grok_sweeps.analysis.render.over_axis import Over, ratios_told, steps_and_scales
from grok_sweeps.analysis.result import Family

_RATIOS = (
    ("norm_up_tau1_over_tau1.7", f"T at τ 1 / at τ {TAU_HIGH:g}"),
    ("transformer_norm_up_ratio", "T at τ 1 / baseline"),
    ("norm_up_tau1.7_over_baseline", f"T at τ {TAU_HIGH:g} / baseline"),
)
_R2 = ("transformer_r2_logit_scale", "R² of ln T with L")
OVER_TAU = Over("temperature τ (logits / τ, log)", lambda c: c.tau, log=True)


def transformer_plot(family: Family, name: str) -> Drawing:
    """Draw the temperatures at the raised dose of one family of transformers against its baseline."""
    swept = [c for c in family.cells if c.arm == "clamp" and c.rho == RHO_UP and not c.superseded and c.n_counted]
    swept.sort(key=lambda c: c.tau)
    baseline = held_at(family.cells, 1.0, 1.0)
    cells = (*swept, *((baseline,) if baseline else ()))
    told = {e.name: e for e in family.transformer}
    scale, which = scale_of(cells)
    caption = captions.joined(
        f"ρ {RHO_UP:g}. {how_drawn(cells)} Dashed: the baseline ({BASELINE}), band: its interval. Right: L; {which}.",
        captions.intervals([(c.label, scale(c)) for c in cells], "Bars of L"),
        "Above: ratios of the medians and the squared correlation of ln T with L.",
        captions.intervals([(words, told[name]) for name, words in (*_RATIOS, _R2)], "Brackets"),
        ratios_told(cells),
        f"{counted(cells)}.",
    )
    points = "; ".join(
        f"ρ {numbers.dose(c.rho or 0.0)}, τ {c.tau:g}: T {steps_told(c)}, L {numbers.told(scale(c))}" for c in cells
    )
    notes = _notes(told)
    ratios = "; ".join(sum(notes, ()))
    alt = f"Two panels over temperature: median grokked step (log) and logit scale. {ratios}. {points}."
    heading = "Transformer: grokking step over temperature"
    if not swept:
        return Drawing(name, heading, caption, alt, lambda: words(f"no cell of arm clamp has rho {RHO_UP:g}."))
    return Drawing(
        name,
        heading,
        caption,
        alt,
        lambda: steps_and_scales(swept, OVER_TAU, family.key.title, notes, baseline),
    )


def _notes(told: Mapping[str, Estimate]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    def known(wanted: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        return tuple(f"{words}: {numbers.told(told[name])}" for name, words in wanted if told[name].value is not None)

    return known(_RATIOS), known([_R2])
