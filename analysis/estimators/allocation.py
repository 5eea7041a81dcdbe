"""Does it matter which layer holds the norm? One total norm, split differently between embedding and readout.

The paper's statistic (arXiv:2606.18465): largest over smallest median grokking step over gamma, 2.2 at p = 59. An
extreme over extreme is biased upwards by noise and so are its resamples; the ratio of the two cells that were found the
extremes is given beside it, and BCa, which corrects for bias.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.methods.bootstrap import Floats
from grok_sweeps.analysis.methods.convention import scale_sentence
from grok_sweeps.analysis.methods.medians import Medians, no_contrast
from grok_sweeps.analysis.methods.resampled import Kind
from grok_sweeps.analysis.table.cells import Cell

_MAX_OVER_MIN = "Largest over smallest median grokked_step over gamma; the extremes are found anew in each resample."
_FIXED = "Median grokked_step at the gamma found slowest over that at the gamma found fastest (gamma {} over gamma {})."
_SCALE = "Squared correlation over gamma of ln T with L: what part of the difference goes with the logit scale."
_RANGE = "Largest over smallest L over gamma."


def allocation(cells: Sequence[Cell], *, resamples: int, seed: int) -> tuple[Estimate, ...]:
    """Spread of T and L over the layer allocations of one family, and how far L explains that of T."""
    used, left_out, beyond = _allocated(cells)
    names = ("allocation_max_over_min", "allocation_max_over_min_bca", "allocation_slowest_over_fastest")
    if len(used) < 2:
        why = f"allocations with a run that grokked: {len(used)}, at least 2 are needed"
        return tuple(e for name in names for e in no_contrast(name, _MAX_OVER_MIN, why, left_out=left_out))
    medians = Medians(used, resamples=resamples, seed=seed, left_out=left_out)
    middle = medians.values(medians.seeds.whole, all_runs=False)[0]
    slow, fast = int(np.argmax(middle)), int(np.argmin(middle))
    fixed = _FIXED.format(f"{used[slow].gamma:g}", f"{used[fast].gamma:g}")
    reads = f" {scale_sentence(medians.table)}."
    at = f" All at rho {used[0].rho:g}, tau {used[0].tau:g}." if used[0].rho is not None else ""

    def ratio(values: Floats) -> Floats:
        return np.asarray(values.max(axis=1) / values.min(axis=1))

    return (
        *medians.contrast(names[0], _MAX_OVER_MIN + at, ratio, beyond=beyond),
        *medians.contrast(names[1], _MAX_OVER_MIN + at, ratio, kind=Kind.BCA, beyond=beyond),
        *medians.contrast(names[2], fixed + at, lambda m: m[:, slow] / m[:, fast], beyond=beyond),
        medians.of_scales("allocation_logit_scale_max_over_min", _RANGE + at + reads, ratio),
        medians.of_seeds("allocation_r2_logit_scale", _SCALE + at + reads, medians.r_squared_logit_scale, kind=Kind.R2),
    )


def allocated_cells(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of the arm allocation in which a run grokked, by gamma, of the one dose and temperature compared."""
    return _allocated(cells)[0]


def _allocated(cells: Sequence[Cell]) -> tuple[list[Cell], tuple[str, ...], str]:
    """Those cells, a sentence for each other, and why with all runs the slowest is not known (or empty)."""
    given = [c for c in cells if c.arm == "allocation" and c.gamma is not None]
    current = [c for c in given if not c.superseded]
    n_cells = Counter((c.rho, c.tau) for c in current)
    place = max(n_cells, key=lambda at: (at == (1.0, 1.0), n_cells[at]), default=None)
    here = sorted((c for c in current if (c.rho, c.tau) == place), key=lambda c: c.gamma or 0.0)
    never = [c for c in here if not c.n_grokked]
    left_out = (
        *(f"{c.label}: none of {c.n_counted} runs grokked" for c in never),
        *(f"{c.label}: {c.superseded}" for c in given if c.superseded),
        *(f"{c.label}: allocations are compared at one rho and tau" for c in current if c not in here),
    )
    gammas = ", ".join(f"{c.gamma:g}" for c in never if c.n_counted)
    beyond = f"no run grokked at gamma {gammas}, so with all runs the largest median is not known" if gammas else ""
    return [c for c in here if c.n_grokked], left_out, beyond
