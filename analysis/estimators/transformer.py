"""The temperature sweep on the transformer without normalisation: the effect of tau without a recovery by L.

The paper's statistic (arXiv:2606.18465): T at (rho 1.15, tau 1) over T at (rho 1.15, tau 1.7), 4.7 at p = 59. Its L
does not fall with tau and is lower at the raised norm than at the baseline, so the recovery fraction is not defined and
L does not order the cells; how well it does is given as a squared correlation.
"""

from __future__ import annotations

from collections.abc import Sequence

from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.estimators.recovery import RHO_UP
from grok_sweeps.analysis.methods.convention import scale_sentence
from grok_sweeps.analysis.methods.medians import Medians, held_at, no_contrast
from grok_sweeps.analysis.methods.resampled import Kind
from grok_sweeps.analysis.table.cells import Cell

ARCH = "transformer_no_layernorm"
TAU_HIGH = 1.7

_TAU = f"Median grokked_step at rho {RHO_UP:g}, tau 1 over that at rho {RHO_UP:g}, tau {TAU_HIGH:g}."
_UP = f"Median grokked_step at rho {RHO_UP:g}, tau 1 over that at rho 1, tau 1."
_BACK = f"Median grokked_step at rho {RHO_UP:g}, tau {TAU_HIGH:g} over that at rho 1, tau 1: what tau does not undo."
_SCALE = "Squared correlation of ln T with L over the clamp cells in which a majority grokked."


def transformer(cells: Sequence[Cell], *, arch: str | None, resamples: int, seed: int) -> tuple[Estimate, ...]:
    """Effects of norm and temperature on the transformer's cells, and how well L orders them."""
    names = ("norm_up_tau1_over_tau1.7", "transformer_norm_up_ratio", "norm_up_tau1.7_over_baseline")
    wanted = (
        (names[0], _TAU, held_at(cells, RHO_UP, 1.0), held_at(cells, RHO_UP, TAU_HIGH)),
        (names[1], _UP, held_at(cells, RHO_UP, 1.0), held_at(cells, 1.0, 1.0)),
        (names[2], _BACK, held_at(cells, RHO_UP, TAU_HIGH), held_at(cells, 1.0, 1.0)),
    )
    other = "" if arch == ARCH else f"the architecture is {arch or 'unknown'}, not {ARCH}"
    estimates: list[Estimate] = []
    for name, sentence, over, under in wanted:
        if other or over is None or under is None:
            estimates += no_contrast(name, sentence, other or "one of the two cells does not exist")
        else:
            medians = Medians([over, under], resamples=resamples, seed=seed)
            estimates += medians.contrast(name, sentence, lambda m: m[:, 0] / m[:, 1])
    return (*estimates, _ordering(cells, other, resamples, seed))


def _ordering(cells: Sequence[Cell], other: str, resamples: int, seed: int) -> Estimate:
    used = [c for c in cells if c.arm == "clamp" and not c.superseded and c.grokked_step.value is not None]
    name = "transformer_r2_logit_scale"
    if other or len(used) < 3:
        return absent(name, "1", _SCALE, other or f"cells: {len(used)}, at least 3 are needed", n_cells=len(used))
    medians = Medians(used, resamples=resamples, seed=seed)

    sentence = f"{_SCALE} {scale_sentence(medians.table)}."
    return medians.of_seeds(name, sentence, medians.r_squared_logit_scale, kind=Kind.R2)
