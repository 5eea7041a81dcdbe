"""Families to be compared: those whose config is equal but for the columns that the comparison is about."""

from __future__ import annotations

from collections.abc import Sequence

from grok_sweeps.analysis.table.families import HELD_COLUMNS, FamilyKey

BY_LOSS = ("loss", *HELD_COLUMNS)
"""Cross-entropy against squared error: each has its own control, and its norm is held from another step."""
BY_DTYPE = ("dtype",)
BY_FORK = ("fork_step", *HELD_COLUMNS)
"""Forks and the free runs that they are set against."""
BY_MODULUS = ("p", *HELD_COLUMNS)


def partners(keys: Sequence[FamilyKey], differ_in: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Groups of families, as places in `keys`, whose config differs at most in `differ_in`."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(tuple(v for name, v in key.config if name not in differ_in), []).append(place)
    return tuple(tuple(places) for places in groups.values())
