"""Which runs may share one regression: those that differ only in the intervention and the seed.

Mixing two moduli or two learning rates in one collapse would show an R2 of the mixture. So every config column that is
not the intervention is part of the family, and each family is analysed by itself. So are a pinned w_c and the step from
which the norm is held: the same rho is another norm then. Not part of it, although a column: max_steps, eval_every and
a resolved control (cells that differ in these at one rho and tau are met in `cells.preferred`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from grok_sweeps.config import ADDED_LATER

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
    "heads",
    "momentum",
    "batch_size",
    "normalizer",
    "label_smoothing",
    "logit_penalty",
    "gradient_compensation",
    "gradient_projection",
    "fork_step",
    "arch_version",
)

HELD_COLUMNS = ("w_c", "clamp_from_step")
"""What a dose is relative to; w_c counts only where it was pinned."""

COLUMNS = (*FAMILY_COLUMNS, *HELD_COLUMNS)

Value = str | float | int | None


@dataclass(frozen=True, slots=True)
class FamilyKey:
    """The config that all runs of a family share; `title` shows p and what differs between the families at hand."""

    config: tuple[tuple[str, Value], ...]
    title: str
    slug: str


def split(runs: pd.DataFrame) -> tuple[tuple[FamilyKey, pd.DataFrame], ...]:
    """Group clean runs by FAMILY_COLUMNS and HELD_COLUMNS, ordered by p and then by first occurrence.

    Runs whose norm is free have no HELD_COLUMNS; they belong to every family of the same FAMILY_COLUMNS.
    """
    free: dict[tuple[Value, ...], list[int]] = {}
    held: dict[tuple[Value, ...], dict[tuple[Value, ...], list[int]]] = {}
    for i, row in enumerate(runs[[*FAMILY_COLUMNS, *HELD_COLUMNS, "control_id", "arm"]].itertuples(index=False)):
        base = tuple(_plain(v) for v in row[: len(FAMILY_COLUMNS)])
        if row.arm == "free":
            free.setdefault(base, []).append(i)
        else:
            w_c = None if isinstance(row.control_id, str) else _plain(row.w_c)
            held.setdefault(base, {}).setdefault((w_c, _plain(row.clamp_from_step)), []).append(i)
    rows = {(*base, *key): free.get(base, []) + at for base, groups in held.items() for key, at in groups.items()}
    rows |= {(*base, None, None): at for base, at in free.items() if base not in held}
    modulus = COLUMNS.index("p")
    keys = sorted(rows, key=lambda k: (k[modulus] is None, k[modulus] or 0))
    named = _named(keys)
    return tuple((named[k], runs.iloc[sorted(rows[k])].reset_index(drop=True)) for k in keys)


def _named(keys: Sequence[tuple[Value, ...]]) -> dict[tuple[Value, ...], FamilyKey]:
    """Titles and slugs that tell the families apart: numbers to six digits, or whole where these are not enough."""
    telling = _telling(keys)
    said = {k: _said(k, telling, exact=False) for k in keys}
    if len(set(said.values())) < len(keys):
        said = {k: _said(k, telling, exact=True) for k in keys}
    slugs = {k: _slug(parts) for k, parts in said.items()}
    titles = {k: ", ".join(f"{name} = {word}" for name, word in parts) for k, parts in said.items()}
    named = {}
    for place, k in enumerate(keys, 1):
        same = list(slugs.values()).count(slugs[k]) > 1
        slug = f"{slugs[k]}-{place}" if same else slugs[k]
        title = f"{titles[k]} ({place})" if list(titles.values()).count(titles[k]) > 1 else titles[k]
        named[k] = FamilyKey(tuple(zip(COLUMNS, k, strict=True)), title, slug if len(keys) > 1 else "")
    return named


def _said(values: tuple[Value, ...], telling: Sequence[int], *, exact: bool) -> tuple[tuple[str, str], ...]:
    is_fork = values[COLUMNS.index("fork_step")] is not None
    shown = [(COLUMNS[i], values[i]) for i in telling]
    return tuple(
        (name, _word(name, value, exact=exact))
        for name, value in shown
        if not (_is_default(name, value) or (is_fork and name in HELD_COLUMNS))
    )


def _slug(parts: Sequence[tuple[str, str]]) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(map("".join, parts)).lower()).strip("-")


def _telling(everyone: Sequence[tuple[Value, ...]]) -> list[int]:
    """Places of p and of the columns that tell the families apart, without those that follow from the ones before."""
    places = [COLUMNS.index("p")]
    for i in range(len(COLUMNS)):
        told = [len({tuple(other[j] for j in chosen) for other in everyone}) for chosen in (places, [*places, i])]
        if told[1] > told[0]:
            places.append(i)
    return places


def _word(name: str, value: Value, *, exact: bool) -> str:
    if value is None:
        return "control" if name == "w_c" else "unknown"
    return f"{value:.6g}" if isinstance(value, float) and not exact else str(value)


def _is_default(name: str, value: Value) -> bool:
    """Whether it is what a run has that says nothing of a column which the first release lacked: no fork, no heads."""
    return name in ADDED_LATER and value == ADDED_LATER[name]


def _plain(value: object) -> Value:
    if isinstance(value, str | bool):
        return str(value)
    if value is None or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return int(value) if float(value).is_integer() else float(value)
