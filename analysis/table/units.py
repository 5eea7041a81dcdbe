"""Values that no run can have: a step that is not whole, an accuracy of 95, a temperature of 0.

Such a value is a table in another unit, or a wrong join. A reading is then left out; a row whose dose, temperature or
grokking step is impossible is used by no estimate. Either is said, with the first value, so that the unit can be put
right. Doses, norms and readings have an upper bound too: far beyond it least squares loses its intercept, then numbers
their squares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from grok_sweeps.analysis.table.cells import RIVALS

Check = tuple[str, Callable[[pd.Series], pd.Series]]

LARGEST = 1e12
"""Far beyond what a network that groks reaches; L is tens to hundreds."""

WHOLE: Check = ("a whole number from 1", lambda v: (v >= 1) & (v % 1 == 0))
STEPS: Check = ("a whole number from 0", lambda v: (v >= 0) & (v % 1 == 0))
ANY_WHOLE: Check = ("a whole number", lambda v: v % 1 == 0)
POSITIVE: Check = (f"above 0 and up to {LARGEST:g}", lambda v: (v > 0) & (v <= LARGEST))
NOT_NEGATIVE: Check = (f"from 0 to {LARGEST:g}", lambda v: (v >= 0) & (v <= LARGEST))
SHARE: Check = ("from 0 to 1", lambda v: (v >= 0) & (v <= 1))

DECISIVE: Mapping[str, Check] = {
    "rho": POSITIVE,
    "tau": POSITIVE,
    "w_c": POSITIVE,
    "grokked_step": WHOLE,
    "memorized_step": WHOLE,
}
"""What places a run in a cell or is its outcome."""

READINGS: Mapping[str, Check] = {
    "seed": ANY_WHOLE,
    "eval_every": WHOLE,
    "steps_run": STEPS,
    "max_steps": WHOLE,
    **dict.fromkeys(("logit_scale_at_grok", *(f"{name}_at_grok" for name in RIVALS)), NOT_NEGATIVE),
    "softmax_collapse_max": SHARE,
    "weight_norm_at_grok": POSITIVE,
}

CURVES: Mapping[str, Check] = {
    "step": WHOLE,
    "train_accuracy": SHARE,
    "test_accuracy": SHARE,
    **dict.fromkeys(("logit_scale", *RIVALS), NOT_NEGATIVE),
}


def leave_out_impossible(table: pd.DataFrame, checks: Mapping[str, Check], what: str, notes: list[str]) -> pd.Series:
    """Null the values that a check refuses, in place; which rows had one."""
    touched = pd.Series(False, index=table.index)
    for name, (allowed, holds) in checks.items():
        wrong = table[name].notna() & ~holds(table[name])
        if wrong.any():
            first = table.loc[wrong, name].iloc[0]
            notes.append(
                f"{what}: {int(wrong.sum())} values of {name} left out: {name} is {allowed}, the first is {first:g}"
            )
            table.loc[wrong, name] = float("nan")
            touched |= wrong
    return touched
