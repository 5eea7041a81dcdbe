"""The edge of the package: any table of the documented schema becomes one with known columns and plain dtypes.

What can be wrong with a table is met here once: columns that are absent, rows that occur twice, nulls of every kind,
numbers stored as text, steps of -1 for "not reached", outcomes that contradict their step, rows of another sweep.
Each repair is a sentence in `notes`; nothing is repaired silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from grok_sweeps.analysis.table.cells import RIVALS
from grok_sweeps.analysis.table.units import CURVES, DECISIVE, READINGS, leave_out_impossible
from grok_sweeps.analysis.table.values import later, numbers, texts, unreadable_note
from grok_sweeps.config import ADDED_LATER
from grok_sweeps.schema import OUTCOMES

TEXT = (
    "run_id",
    "cell_id",
    "attempt",
    "arch",
    "task",
    "loss",
    "optimizer",
    "arm",
    "seeding",
    "dtype",
    "control_id",
    "outcome",
)
NUMBER = (
    "p",
    "train_fraction",
    "d_model",
    "hidden",
    "lr",
    "weight_decay",
    "rho",
    "tau",
    "w_c",
    "clamp_from_step",
    "seed",
    "max_steps",
    "eval_every",
    "steps_run",
    "memorized_step",
    "grokked_step",
    "delay",
    "logit_scale_at_grok",
    "softmax_collapse_max",
    "weight_norm_at_grok",
    *(f"{name}_at_grok" for name in RIVALS),
)
LATER = tuple(ADDED_LATER)
"""Config columns that tables of the first release lack; there, and where null, a run has their defaults."""
STEPS = ("memorized_step", "grokked_step")
NOT_REACHED = -1
"""How tables of other makers write a step that was not reached."""
READ = ("train_accuracy", "test_accuracy")
READ_IF_THERE = ("logit_scale", *RIVALS)
"""Columns of `curves` without which the accuracies are still read."""

_DECIMALS = 6
"""rho and tau are compared after rounding, so that 1.15 written in two ways, or as a float32, is one dose."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Clean `runs` (columns of TEXT, NUMBER, LATER) and `curves` (run_id, step, READ, READ_IF_THERE), with notes on it.

    `missing` are columns of `runs` that the given table lacks; they are there, filled with null. `n_left_out` rows had
    a dose, temperature or step that no run can have.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    missing: frozenset[str]
    notes: tuple[str, ...]
    n_left_out: int = 0

    @cached_property
    def _places(self) -> dict[str, NDArray[np.intp]]:
        """Where in `curves` each run's readings are."""
        groups = self.curves.groupby("run_id", sort=False).indices
        return {str(run_id): np.asarray(places) for run_id, places in groups.items()}

    def curves_of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The readings of some of the runs, in the order of `curves`."""
        found = [self._places[run_id] for run_id in runs["run_id"] if run_id in self._places]
        return self.curves.iloc[np.sort(np.concatenate(found))] if found else self.curves.iloc[:0]


def clean(runs: pd.DataFrame, curves: pd.DataFrame, sweeps: Sequence[str]) -> Tables:
    """Bring both tables to known columns and dtypes; never raises on odd data."""
    notes: list[str] = []
    kept = _of_sweeps(_unique_columns(runs), sweeps, "runs", notes)
    table, unreadable = _columns(kept, "runs", TEXT, NUMBER, notes)
    for name in LATER:
        given = kept[name] if name in kept.columns else pd.Series([None] * len(kept), dtype=object)
        values, bad = later(given, name)
        table[name] = pd.Series(values, dtype=object)
        if bad.any():
            notes.append(unreadable_note("runs", name, given, bad))
    missing = frozenset(c for c in (*TEXT, *NUMBER) if c not in runs.columns)
    table["unreadable"] = unreadable[list(DECISIVE)].any(axis=1)
    table = _one_row_a_run(table, missing, notes)
    table[["rho", "tau"]] = table[["rho", "tau"]].round(_DECIMALS)
    for name in STEPS:
        table[name] = table[name].where(table[name] != NOT_REACHED)
    impossible = table.pop("unreadable").astype(bool) | leave_out_impossible(table, DECISIVE, "runs", notes)
    if impossible.any():
        notes.append(f"runs: {int(impossible.sum())} rows left out, for such a value of {' or '.join(DECISIVE)}")
        table = table[~impossible].reset_index(drop=True)
    leave_out_impossible(table, READINGS, "runs", notes)
    _fill_arm_and_tau(table, missing, notes)
    _check_outcome(table, missing, notes)
    return Tables(table, _clean_curves(curves, table, sweeps, notes), missing, tuple(notes), int(impossible.sum()))


def _unique_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[:, ~table.columns.duplicated()]


def _of_sweeps(table: pd.DataFrame, sweeps: Sequence[str], what: str, notes: list[str]) -> pd.DataFrame:
    if "sweep" not in table.columns or table.empty:
        return table
    mine = pd.Series(texts(table["sweep"]), index=table.index).isin(sweeps)
    if not mine.any():
        notes.append(f"{what}: none of {len(table)} rows belongs to sweep {', '.join(map(repr, sweeps))}")
    elif not mine.all():
        notes.append(f"{what}: {int((~mine).sum())} rows of other sweeps left out")
    return table[mine.to_numpy()]


def _columns(
    table: pd.DataFrame, what: str, text: Sequence[str], number: Sequence[str], notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The columns, null where absent; and where a number stood that cannot be read."""
    data: dict[str, Any] = {}
    unreadable: dict[str, Any] = {}
    for name in text:
        data[name] = pd.Series(texts(table[name]) if name in table.columns else [None] * len(table), dtype=object)
    for name in number:
        data[name], unreadable[name] = np.full(len(table), np.nan), np.zeros(len(table), dtype=bool)
        if name in table.columns:
            data[name], unreadable[name] = numbers(table[name])
        if unreadable[name].any():
            notes.append(unreadable_note(what, name, table[name], unreadable[name]))
    return pd.DataFrame(data), pd.DataFrame(unreadable)


def _one_row_a_run(table: pd.DataFrame, missing: frozenset[str], notes: list[str]) -> pd.DataFrame:
    if "run_id" in missing:
        if len(table):
            notes.append("runs: no column run_id, so repeated rows cannot be told apart")
        return table.assign(run_id=pd.Series([f"row {i}" for i in range(len(table))], dtype=object, index=table.index))
    nameless = table["run_id"].isna()
    if nameless.any():
        notes.append(f"runs: {int(nameless.sum())} rows without run_id left out")
    again = table["run_id"].duplicated() & ~nameless
    if again.any():
        notes.append(f"runs: {int(again.sum())} repeated rows left out, the first of each run_id is kept")
    return table[~(nameless | again)].reset_index(drop=True)


def _fill_arm_and_tau(table: pd.DataFrame, missing: frozenset[str], notes: list[str]) -> None:
    if "arm" in missing and len(table):
        notes.append("runs: no column arm; a run with rho is taken as clamp, one without as free")
        table["arm"] = pd.Series(np.where(table["rho"].notna(), "clamp", "free"), dtype=object, index=table.index)
    no_tau = table["tau"].isna()
    if no_tau.any():
        notes.append(f"runs: {int(no_tau.sum())} rows without tau are taken as tau = 1, the standard model")
        table["tau"] = table["tau"].fillna(1.0)


def _check_outcome(table: pd.DataFrame, missing: frozenset[str], notes: list[str]) -> None:
    """Give every row an outcome of OUTCOMES, or null where the row contradicts itself (then no estimate uses it)."""
    reached = table["grokked_step"].notna()
    if "outcome" in missing:
        if len(table):
            notes.append("runs: no column outcome; a run with a grokked_step is taken as grokked, others as censored")
        table["outcome"] = pd.Series(np.where(reached, "grokked", "censored"), dtype=object, index=table.index)
    known = table["outcome"].isin(OUTCOMES)
    contradicts = known & ((table["outcome"] == "grokked") != reached)
    contradicts |= known & (table["grokked_step"] > table["steps_run"])
    if "grokked_step" in missing:
        contradicts[:] = False
    if not known.all():
        notes.append(f"runs: {int((~known).sum())} rows left out, their outcome is none of {', '.join(OUTCOMES)}")
    if contradicts.any():
        notes.append(
            f"runs: {int(contradicts.sum())} rows left out, their outcome or steps_run contradicts their grokked_step"
        )
    table["outcome"] = table["outcome"].where(known & ~contradicts, None)


def _clean_curves(curves: pd.DataFrame, runs: pd.DataFrame, sweeps: Sequence[str], notes: list[str]) -> pd.DataFrame:
    empty = pd.DataFrame(
        {"run_id": pd.Series(dtype=object), **{c: pd.Series(dtype=float) for c in ("step", *READ, *READ_IF_THERE)}}
    )
    lacking = [c for c in ("run_id", "step", *READ) if c not in curves.columns]
    if lacking:
        notes.append(f"curves: no column {', '.join(lacking)}, so no accuracy curves")
        return empty
    kept = _of_sweeps(_unique_columns(curves), sweeps, "curves", notes)
    table, _ = _columns(kept, "curves", ("run_id", "attempt"), ("step", *READ, *READ_IF_THERE), notes)
    leave_out_impossible(table, CURVES, "curves", notes)
    table = table[table["run_id"].isin(runs["run_id"]).to_numpy() & table["step"].notna().to_numpy()]
    table = _of_last_attempt(table, runs)
    return table.drop_duplicates(["run_id", "step"], keep="last").drop(columns="attempt").reset_index(drop=True)


def _of_last_attempt(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Readings of the attempt that finished the run; all readings of a run where none carries that attempt."""
    finished = table["run_id"].map(runs.set_index("run_id")["attempt"])
    matches = (table["attempt"] == finished) & finished.notna()
    has_match = matches.groupby(table["run_id"]).transform("any").astype(bool) if len(table) else matches
    return table[(matches | ~has_match).to_numpy(dtype=bool)]
