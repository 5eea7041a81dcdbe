"""Does it matter which layer holds the norm? One total norm, split differently between embedding and readout.

The paper's statistic (arXiv:2606.18465): largest over smallest median grokking step over gamma, 2.2 at p = 59. An
extreme over extreme is biased upwards by noise and so are its resamples; the ratio of the two cells that were found the
extremes is given beside it, and BCa, which corrects for bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.estimate import Estimate
from analysis.methods.bootstrap import Floats, Ints
from analysis.methods.convention import mean_scales, scale_sentence
from analysis.methods.medians import Medians, no_contrast
from analysis.methods.resampled import Kind
from analysis.table.cells import Cell

_MAX_OVER_MIN = "Largest over smallest median grokked_step over gamma; the extremes are found anew in each resample."
_FIXED = "Median grokked_step at the gamma found slowest over that at the gamma found fastest (gamma {} over gamma {})."
_SCALE = "Squared correlation over gamma of ln T with L: what part of the difference goes with the logit scale."
_RANGE = "Largest over smallest L over gamma."


def allocation(cells: Sequence[Cell], *, resamples: int, seed: int) -> tuple[Estimate, ...]:
    """Spread of T and L over the layer allocations of one family, and how far L explains that of T."""
    used = allocated_cells(cells)
    names = ("allocation_max_over_min", "allocation_max_over_min_bca", "allocation_slowest_over_fastest")
    if len(used) < 2:
        why = f"allocations with a run that grokked: {len(used)}, at least 2 are needed"
        return tuple(e for name in names for e in no_contrast(name, _MAX_OVER_MIN, why))
    medians = Medians(used, resamples=resamples, seed=seed)
    table, whole = medians.table, medians.seeds.whole
    middle = medians.values(whole, all_runs=False)[0]
    slow, fast = int(np.argmax(middle)), int(np.argmin(middle))
    fixed = _FIXED.format(f"{used[slow].gamma:g}", f"{used[fast].gamma:g}")

    def scale_range(lists: Ints) -> Floats:
        scales = mean_scales(table, lists)
        return np.asarray(scales.max(axis=1) / scales.min(axis=1))

    reads = f" {scale_sentence(table)}."
    return (
        *medians.contrast(names[0], _MAX_OVER_MIN, lambda m: m.max(axis=1) / m.min(axis=1)),
        *medians.contrast(names[1], _MAX_OVER_MIN, lambda m: m.max(axis=1) / m.min(axis=1), kind=Kind.BCA),
        *medians.contrast(names[2], fixed, lambda m: m[:, slow] / m[:, fast]),
        medians.of_seeds("allocation_logit_scale_max_over_min", _RANGE + reads, scale_range),
        medians.of_seeds("allocation_r2_logit_scale", _SCALE + reads, medians.r_squared_logit_scale, kind=Kind.R2),
    )


def allocated_cells(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of the arm allocation in which a run grokked, by gamma."""
    used = [c for c in cells if c.arm == "allocation" and c.gamma is not None and c.n_grokked > 0]
    return sorted(used, key=lambda c: c.gamma or 0.0)
