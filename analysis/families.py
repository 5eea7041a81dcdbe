"""Which runs may share one regression: those that differ only in the intervention and the seed.

Mixing two moduli or two learning rates in one collapse would show an R2 of the mixture. So every config column that is
not the intervention is part of the family, and each family is analysed by itself. Not part of it, although a column:
w_c and its control (resolved within a sweep), clamp_from_step, max_steps, eval_every (cells that differ in these at
one rho and tau are met in `cells.preferred`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

FAMILY_COLUMNS = (
    "arch",
    "task",
    "p",
    "loss",
    "train_fraction",
    "d_model",
    "hidden",
    "optimizer",
    "lr",
    "weight_decay",
    "seeding",
    "dtype",
)

Value = str | float | int | None


@dataclass(frozen=True, slots=True)
class FamilyKey:
    """The config that all runs of a family share; `title` shows p and what differs between the families at hand."""

    config: tuple[tuple[str, Value], ...]
    title: str
    slug: str


def split(runs: pd.DataFrame) -> tuple[tuple[FamilyKey, pd.DataFrame], ...]:
    """Group clean runs by FAMILY_COLUMNS, ordered by p and then by first occurrence."""
    rows: dict[tuple[Value, ...], list[int]] = {}
    for i, values in enumerate(zip(*(runs[c] for c in FAMILY_COLUMNS), strict=True)):
        rows.setdefault(tuple(_plain(v) for v in values), []).append(i)
    modulus = FAMILY_COLUMNS.index("p")
    keys = sorted(rows, key=lambda k: (k[modulus] is None, k[modulus] or 0))
    return tuple((_key(k, keys), runs.iloc[rows[k]].reset_index(drop=True)) for k in keys)


def _key(values: tuple[Value, ...], everyone: Sequence[tuple[Value, ...]]) -> FamilyKey:
    shown = [
        (name, value)
        for i, (name, value) in enumerate(zip(FAMILY_COLUMNS, values, strict=True))
        if name == "p" or len({other[i] for other in everyone}) > 1
    ]
    shown.sort(key=lambda item: item[0] != "p")
    title = ", ".join(f"{name} = {'unknown' if value is None else value}" for name, value in shown)
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join(f"{name}{value}" for name, value in shown).lower()).strip("-")
    return FamilyKey(tuple(zip(FAMILY_COLUMNS, values, strict=True)), title, slug if len(everyone) > 1 else "")


def _plain(value: object) -> Value:
    if isinstance(value, str):
        return value
    if value is None or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return int(value) if float(value).is_integer() else float(value)
