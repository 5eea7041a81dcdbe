"""Cross-entropy against squared error: under the second the logit scale stays put, and so does part of the norm effect.

The paper's statistics (arXiv:2606.18465): T at rho 1.15 over T at rho 1 under each loss (3.43 and 1.89 at p = 59), and
L between the same cells. If the norm acted through L alone, nothing of the effect would be left where L does not move;
about half is left, on the scale of ln T. Seeds are paired across losses: they share initial weights and split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.estimators.recovery import RHO_UP
from grok_sweeps.analysis.methods.convention import scale_sentence
from grok_sweeps.analysis.methods.medians import Medians, held_at, no_contrast
from grok_sweeps.analysis.table.cells import Cell

LOSSES = ("ce", "mse")

_UP = f"Median grokked_step at rho {RHO_UP:g}, tau 1 over that at rho 1, tau 1, loss {{}}."
_SCALE = f"L at rho {RHO_UP:g}, tau 1 over L at rho 1, tau 1, loss {{}}."
_SHARE = f"ln of that ratio (rho {RHO_UP:g} over rho 1) under mse over the same under ce."


def dissociation(families: Mapping[str, Sequence[Cell]], *, resamples: int, seed: int) -> tuple[Estimate, ...]:
    """Norm effect and change of L under each loss of `families` (loss -> cells), and one effect over the other."""
    pairs = {loss: _pair(families[loss]) for loss in LOSSES if loss in families}
    estimates: list[Estimate] = []
    for loss in LOSSES:
        found = pairs.get(loss)
        names = (f"norm_up_ratio_{loss}", f"logit_scale_up_ratio_{loss}")
        if found is None:
            why = _why(loss, pairs)
            estimates += [
                *no_contrast(names[0], _UP.format(loss), why),
                absent(names[1], "1", _SCALE.format(loss), why),
            ]
            continue
        medians = Medians(found, resamples=resamples, seed=seed)
        estimates += medians.contrast(names[0], _UP.format(loss), lambda m: m[:, 1] / m[:, 0])
        sentence = f"{_SCALE.format(loss)} {scale_sentence(medians.table)}."
        estimates.append(medians.of_scales(names[1], sentence, lambda scales: scales[:, 1] / scales[:, 0]))
    missing = [loss for loss in LOSSES if pairs.get(loss) is None]
    if missing:
        return (*estimates, *no_contrast("norm_effect_mse_over_ce", _SHARE, _why(missing[0], pairs)))
    four = Medians([c for loss in LOSSES for c in pairs[loss] or ()], resamples=resamples, seed=seed)
    return (
        *estimates,
        *four.contrast(
            "norm_effect_mse_over_ce", _SHARE, lambda m: np.log(m[:, 3] / m[:, 2]) / np.log(m[:, 1] / m[:, 0])
        ),
    )


def _pair(cells: Sequence[Cell]) -> tuple[Cell, Cell] | None:
    low, high = held_at(cells, 1.0, 1.0), held_at(cells, RHO_UP, 1.0)
    return None if low is None or high is None else (low, high)


def _why(loss: str, pairs: Mapping[str, object]) -> str:
    cells = f"clamp cells at rho 1 and rho {RHO_UP:g}, tau 1"
    return f"loss {loss} lacks {cells}" if loss in pairs else f"there are no runs under loss {loss} of equal config"
