"""Runs that others released, one row a seed, as a table of our schema, and beside our own of the same seed.

The file has the columns `REQUIRED` under the names of arXiv:2606.18465's own files: the arm `none` is free, `alloc` is
allocation, `clamp_raised` is a fork. A step that was not reached is -1. It has no readings, so L cannot be had from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from grok_sweeps.errors import QueryError, did_you_mean

REQUIRED = (
    "source", "experiment", "p", "arch", "loss", "arm", "rho", "tau", "gamma", "weight_decay", "lr", "clamp_from_step",
    "w_c", "max_steps", "hidden", "fork_step", "seed", "seeds_in_block", "memorized_step", "grokked_step",
)  # fmt: skip
DUPLICATE_CONTROL = "ctrl.npz"
"""Under squared error the baseline is listed a second time, as a control."""

_ARMS = {"none": "free", "alloc": "allocation", "clamp_same": "fork", "clamp_raised": "fork", "clamp_lowered": "fork"}
_FORK_DOSES = {"clamp_same": 1.0, "clamp_raised": 1.15, "clamp_lowered": 1 / 1.15}
_ARCHS = {"tfnoln": "transformer_no_layernorm"}
_SAME_RUN = (
    "p",
    "arch",
    "loss",
    "arm",
    "rho",
    "tau",
    "gamma",
    "w_c",
    "weight_decay",
    "fork_step",
    "seeds_in_block",
    "seed",
    "max_steps",
)
"""What two runs have in common that start from the same numbers; norms are compared after rounding."""


def read_released(paths: Sequence[Path]) -> pd.DataFrame:
    """The files as one table of runs, each experiment a sweep of its name.

    Raises:
        QueryError: no such file, no CSV, or a column is missing.
    """
    return pd.concat([_read(path) for path in paths], ignore_index=True).drop_duplicates("run_id", ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors of a CSV are ValueErrors
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise QueryError(f"--released: {path}: cannot be read as CSV: {why}.") from None
    for name in REQUIRED:
        if name not in table:
            hint = did_you_mean(name, map(str, table.columns)).replace("Did you mean", "It has")
            raise QueryError(
                f"--released: {path}: no column '{name}'.{hint.replace('?', '.')} It needs {', '.join(REQUIRED)}."
            )
    twice = (table.loss == "mse") & table.source.astype(str).str.endswith(DUPLICATE_CONTROL)
    return runs_of(table[~twice].reset_index(drop=True))


def runs_of(theirs: pd.DataFrame) -> pd.DataFrame:
    """Released rows under the names of our schema."""
    arm = theirs.arm.map(_ARMS).fillna(theirs.arm)
    resolved = arm.isin(["free", "fork"])
    reached = theirs.grokked_step > 0
    return pd.DataFrame(
        {
            "sweep": theirs.experiment,
            "run_id": theirs.source + "#" + theirs.seed.astype(str),
            "cell_id": theirs.source,
            "p": theirs.p,
            "arch": theirs.arch.map(_ARCHS).fillna(theirs.arch),
            "loss": theirs.loss,
            "hidden": theirs.hidden,
            "lr": theirs.lr,
            "weight_decay": theirs.weight_decay,
            "arm": arm,
            "rho": theirs.arm.map(_FORK_DOSES).fillna(theirs.rho).where(arm != "free"),
            "tau": theirs.tau,
            "gamma": theirs.gamma.where(arm == "allocation"),
            "w_c": theirs.w_c.where(~resolved),
            "clamp_from_step": theirs.clamp_from_step.where(~resolved),
            "fork_step": theirs.fork_step,
            "seed": theirs.seed,
            "seeds_in_block": theirs.seeds_in_block,
            "max_steps": theirs.max_steps.fillna(60_000),
            "outcome": np.where(reached, "grokked", "censored"),
            "memorized_step": theirs.memorized_step.where(theirs.memorized_step > 0),
            "grokked_step": theirs.grokked_step.where(reached),
        }
    )


@dataclass(frozen=True, slots=True)
class Twins:
    """Runs of ours and of the release that start from the same numbers: how many, and how far apart their steps are."""

    n_released: int
    n_compared: int
    n_equal: int
    n_one_reading: int
    n_memorised_equal: int


def twins(runs: pd.DataFrame, released: pd.DataFrame, eval_every: int = 25) -> Twins:
    """Our runs beside the released ones of the same cell and seed; where neither grokked they are equal."""
    both = paired(runs, released)
    off = (both.grokked_step - both.grokked_step_theirs).abs()
    return Twins(
        n_released=len(_keyed(released, ())),
        n_compared=len(both),
        n_equal=int((off == 0).sum()),
        n_one_reading=int((off == eval_every).sum()),
        n_memorised_equal=int((both.memorized_step == both.memorized_step_theirs).sum()),
    )


def paired(runs: pd.DataFrame, released: pd.DataFrame) -> pd.DataFrame:
    """One row a pair of our run and the released one of the same cell and seed.

    Columns: what the two have in common, `experiment`, our `softmax_collapse_max`, and both's `memorized_step` and
    `grokked_step`, theirs with `_theirs`; a step that was not reached is -1.
    """
    ours = runs[(runs.dtype == "float32") & (runs.seeding == "paper")] if len(runs) else runs
    ours = ours[~((ours.stop == "budget") & (ours.outcome == "censored"))]  # parents of forks end at the fork
    theirs = _keyed(released, ("sweep",)).rename(columns={"sweep": "experiment"})
    return _keyed(ours, ("softmax_collapse_max",)).merge(theirs, on=list(_SAME_RUN), suffixes=("", "_theirs"))


def _keyed(runs: pd.DataFrame, also: Sequence[str]) -> pd.DataFrame:
    table = runs[[*_SAME_RUN, "memorized_step", "grokked_step", *also]].copy()
    for name in _SAME_RUN:
        if name not in ("arch", "loss", "arm"):
            table[name] = pd.to_numeric(table[name]).astype(float).round(4).fillna(-1.0)
    table.loc[table.arm == "free", "rho"] = -1.0
    for name in ("memorized_step", "grokked_step"):
        table[name] = pd.to_numeric(table[name]).astype(float).fillna(-1.0)
    return table.drop_duplicates(list(_SAME_RUN))
