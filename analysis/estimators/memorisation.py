"""The control for the temperature: does it change how fast the net fits its train set, or only the delay after it?

arXiv:2606.18465: memorized_step stays flat in tau, so the whole effect is on the delay. Both are read every eval_every
steps: a memorisation step of 175 at steps of 25 is known to 14 %, and a ratio below that says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, resampled_medians
from grok_sweeps.analysis.methods.medians import Medians
from grok_sweeps.analysis.table.cells import Cell

_METHODS = {
    "memorized_max_over_min": "Largest over smallest median memorized_step over tau at rho {rho:g}.",
    "memorized_elasticity_tau": "Slope of ln median memorized_step on ln tau at rho {rho:g}.",
    "delay_elasticity_tau": "Slope of ln median delay (grokked_step − memorized_step) on ln tau at rho {rho:g}.",
    "delay_share_of_tau_effect": "Change of the median delay from tau {low:g} to tau {high:g} at rho {rho:g} over that "
    "of the median grokked_step.",
}


def memorisation(cells: Sequence[Cell], *, resamples: int, seed: int) -> tuple[Estimate, ...]:
    """What tau does to memorisation and to the delay, at the dose that has the most temperatures."""
    swept, left_out = _swept(cells)
    rho = swept[0].rho if swept else None
    names = {"rho": rho or 0.0, "low": swept[0].tau if swept else 1.0, "high": swept[-1].tau if swept else 1.0}
    methods = {name: text.format(**names) for name, text in _METHODS.items()}
    if len(swept) < 2:
        why = "no dose has two temperatures at which a majority grokked"
        return tuple(absent(name, "1", text, why, left_out=left_out) for name, text in methods.items())
    medians = Medians(swept, resamples=resamples, seed=seed, left_out=left_out)
    table = medians.table
    fitted = np.isfinite(table.memorized_step)
    reached = np.isfinite(table.grokked_step) & fitted
    parts = {
        "memorized": np.where(fitted, table.memorized_step, np.nan),
        "grokked": np.where(reached, table.grokked_step, np.nan),
        "delay": np.where(reached, table.grokked_step - table.memorized_step, np.nan),
    }
    log_tau = np.log([c.tau for c in swept])
    away = log_tau - log_tau.mean()

    def middle(part: str, lists: Ints) -> Floats:
        return resampled_medians(parts[part], lists)

    def elasticity(part: str, lists: Ints) -> Floats:
        values = middle(part, lists)
        return np.asarray(np.log(np.where(values > 0, values, np.nan)) @ away / (away @ away))

    def share(lists: Ints) -> Floats:
        delay, grokked = middle("delay", lists), middle("grokked", lists)
        change = grokked[:, -1] - grokked[:, 0]
        return np.where(change != 0, (delay[:, -1] - delay[:, 0]) / np.where(change != 0, change, 1.0), np.nan)

    def spread(lists: Ints) -> Floats:
        values = middle("memorized", lists)
        return np.asarray(values.max(axis=1) / values.min(axis=1))

    never, no_delay = "that did not memorise", "that did not grok or did not memorise"
    statistics = {
        "memorized_max_over_min": (spread, fitted, never),
        "memorized_elasticity_tau": (lambda lists: elasticity("memorized", lists), fitted, never),
        "delay_elasticity_tau": (lambda lists: elasticity("delay", lists), reached, no_delay),
        "delay_share_of_tau_effect": (share, reached, no_delay),
    }
    return tuple(
        medians.of_seeds(name, methods[name], statistic, used=used, lacking=lacking)
        for name, (statistic, used, lacking) in statistics.items()
    )


def swept_cells(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, by tau, of the dose that has the most temperatures at which a majority grokked."""
    return _swept(cells)[0]


def _swept(cells: Sequence[Cell]) -> tuple[list[Cell], tuple[str, ...]]:
    """Those cells, and a sentence for each other cell of that dose."""
    held = [c for c in cells if c.arm == "clamp" and c.rho is not None and c.tau > 0]
    usable = [c for c in held if not c.superseded and c.grokked_step.value is not None]
    n_taus = Counter(c.rho for c in usable)
    rho = max(n_taus, key=lambda r: (n_taus[r], r or 0.0), default=None)
    swept = sorted((c for c in usable if c.rho == rho), key=lambda c: c.tau)
    others = (c for c in held if c.rho == rho and c not in swept)
    return swept, tuple(f"{c.label}: {c.superseded or c.grokked_step.reason}" for c in others)
