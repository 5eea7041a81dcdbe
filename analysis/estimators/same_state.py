"""From one state on: does the held norm itself delay grokking? Arms that share weights, moments and step at the fork.

Ratios of median delays from the fork (arXiv:2606.18465: raised over same 3.36 [3.27, 3.43] at p = 59), paired by seed,
since the arms of a seed start from the same state. Doses are relative to each run's own norm N0 at the fork.
"""

from __future__ import annotations

from collections.abc import Sequence

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.methods.medians import Medians, no_contrast
from grok_sweeps.analysis.methods.resampled import Kind
from grok_sweeps.analysis.table.cells import Cell

RAISED = 1.15
PUBLISHED = "raised_over_same"
"""The ratio whose interval the paper prints: that one is plain, its `_all_runs` expanded."""

_TOLERANCE = 1e-6

_RATIOS = (
    ("raised_over_same", "raised", "same"),
    ("same_over_lowered", "same", "lowered"),
    ("same_over_free", "same", "free"),
    ("raised_over_free", "raised", "free"),
)
_WORDS = {
    "raised": "held at 1.15 N0",
    "same": "held at N0",
    "lowered": "held at N0 / 1.15",
    "free": "left free",
}
_DELAY = "Median delay from the fork (grokked_step − fork_step) of the runs {}."
_METHOD = "Median delay from the fork (grokked_step − fork_step) {over} over that {under}, paired over seeds."


def same_state(forks: Sequence[Cell], free: Sequence[Cell], *, resamples: int, seed: int) -> tuple[Estimate, ...]:
    """Ratios of the delays from the fork, by percentiles and by BCa.

    `forks` are the cells of one family of forks, `free` those of the families that differ from it in BY_FORK only.
    """
    arms, left_out = _arms(forks, free)
    at = next((c.fork_step for c in forks if c.arm == "fork" and c.fork_step is not None), None)
    estimates: list[Estimate] = []
    for arm, cell in arms.items():
        if at is None:
            break
        medians = Medians([cell], resamples=resamples, seed=seed, origin=at, left_out=left_out)
        estimates += medians.contrast(f"delay_from_fork_{arm}", _DELAY.format(_WORDS[arm]), lambda m: m[:, 0], "step")
    for name, over, under in _RATIOS:
        method = _METHOD.format(over=_WORDS[over], under=_WORDS[under])
        lacking = [_WORDS[arm] for arm in (over, under) if arm not in arms]
        if at is None or lacking:
            why = "there are no forked runs" if at is None else f"there is no cell {' and none '.join(lacking)}"
            estimates += [e for n in (name, f"{name}_bca") for e in no_contrast(n, method, why, left_out=left_out)]
            continue
        medians = Medians([arms[over], arms[under]], resamples=resamples, seed=seed, origin=at, left_out=left_out)
        kind = Kind.PUBLISHED if name == PUBLISHED else Kind.EXPANDED
        estimates += medians.contrast(name, method, lambda m: m[:, 0] / m[:, 1], kind=kind)
        estimates += medians.contrast(f"{name}_bca", method, lambda m: m[:, 0] / m[:, 1], kind=Kind.BCA)
    return tuple(estimates)


def _arms(forks: Sequence[Cell], free: Sequence[Cell]) -> tuple[dict[str, Cell], tuple[str, ...]]:
    """The cell of each arm, and a sentence for each that another one supersedes."""
    doses = {"raised": RAISED, "same": 1.0, "lowered": 1 / RAISED}
    forked = [c for c in forks if c.arm == "fork" and c.rho is not None]
    unheld = [c for c in (*forks, *free) if c.arm == "free" and c.tau == 1.0]
    arms = {
        name: cell
        for name, dose in doses.items()
        for cell in forked
        if not cell.superseded and abs((cell.rho or 0.0) - dose) < _TOLERANCE
    }
    current = [c for c in unheld if not c.superseded]
    left_out = tuple(f"{c.label}: {c.superseded}" for c in (*forked, *unheld) if c.superseded)
    return arms | ({"free": max(current, key=lambda c: c.n_counted)} if current else {}), left_out
