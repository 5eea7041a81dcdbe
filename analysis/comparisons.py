"""Analyses between families: losses, precisions, forks and their free runs, moduli.

Families are compared that are equal but for the columns that the comparison is about (`analysis.table.partners`). Where
none are, the comparison is still there, with the reason in place of its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import pandas as pd

from analysis.estimate import Estimate
from analysis.estimators.dissociation import dissociation
from analysis.estimators.law import law_cells
from analysis.estimators.precision import precision
from analysis.estimators.same_state import same_state
from analysis.estimators.shared_law import shared_law
from analysis.table.cells import Cell
from analysis.table.families import FamilyKey, Value
from analysis.table.partners import BY_DTYPE, BY_FORK, BY_LOSS, BY_MODULUS, partners

LOSSES, PRECISIONS, FORKS, MODULI = "dissociation", "precision", "same_state", "shared_law"

KeyedCells: TypeAlias = tuple[FamilyKey, tuple[Cell, ...]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One analysis between `families`, whose titles say what differs; no estimate has a value where it is not there."""

    kind: str
    families: tuple[FamilyKey, ...]
    estimates: tuple[Estimate, ...]

    @property
    def known(self) -> bool:
        """Whether any number could be had."""
        return any(e.value is not None for e in self.estimates)

    @property
    def title(self) -> str:
        """What the families have in common, then what they differ in."""
        parts = [key.title.split(", ") for key in self.families]
        common = [part for part in parts[0] if all(part in others for others in parts)] if parts else []
        own = (", ".join(part for part in one if part not in common) for one in parts)
        return "; ".join(filter(None, (", ".join(common), " against ".join(filter(None, own)))))

    @property
    def slug(self) -> str:
        """A name for files."""
        return "-".join(filter(None, (self.kind.replace("_", "-"), *(key.slug for key in self.families))))

    def __getitem__(self, name: str) -> Estimate:
        return next(e for e in self.estimates if e.name == name)


def compare(families: Sequence[KeyedCells], runs: pd.DataFrame, *, resamples: int, seed: int) -> tuple[Comparison, ...]:
    """All comparisons of these families that have a number, and one without of each kind that has none.

    `runs` is the clean table of runs of all families.
    """

    def by_loss(chosen: Sequence[KeyedCells]) -> tuple[Estimate, ...]:
        return dissociation(_by(chosen, "loss"), resamples=resamples, seed=seed)

    def by_dtype(chosen: Sequence[KeyedCells]) -> tuple[Estimate, ...]:
        return precision(_by(chosen, "dtype"), runs, resamples=resamples, seed=seed)

    def by_fork(chosen: Sequence[KeyedCells]) -> tuple[Estimate, ...]:
        forks = [c for key, cells in chosen if _value(key, "fork_step") is not None for c in cells]
        free = [c for key, cells in chosen if _value(key, "fork_step") is None for c in cells]
        return same_state(forks, free, resamples=resamples, seed=seed)

    def by_modulus(chosen: Sequence[KeyedCells]) -> tuple[Estimate, ...]:
        return shared_law({f"p = {_value(key, 'p')}": cells for key, cells in chosen}).estimates

    return (
        *_comparisons(LOSSES, families, BY_LOSS, "loss", by_loss),
        *_comparisons(PRECISIONS, families, BY_DTYPE, "dtype", by_dtype),
        *_comparisons(FORKS, families, BY_FORK, "fork_step", by_fork),
        *_comparisons(MODULI, _most_doses(families), BY_MODULUS, "p", by_modulus, all_at_once=True),
    )


def _comparisons(
    kind: str,
    families: Sequence[KeyedCells],
    differ_in: Sequence[str],
    column: str,
    estimates: Callable[[Sequence[KeyedCells]], tuple[Estimate, ...]],
    *,
    all_at_once: bool = False,
) -> tuple[Comparison, ...]:
    """Every choice of one family a value of `column` (two values, or all at once) in each group of partners.

    A family without partner is alone: half of a comparison (the norm effect under one loss) is a number too.
    """
    made = []
    for places in partners([key for key, _ in families], differ_in):
        values: dict[Value, list[KeyedCells]] = {}
        for place in places:
            values.setdefault(_value(families[place][0], column), []).append(families[place])
        for group in _choices(list(values.values()), all_at_once=all_at_once):
            made.append(Comparison(kind, tuple(key for key, _ in group), estimates(group)))
    # Families that differ in what a dose is relative to share their free runs, and with them some comparisons.
    known = tuple({c.estimates: c for c in reversed(made) if c.known}.values())[::-1]
    return known or tuple(made[:1]) or (Comparison(kind, (), estimates(())),)


def _choices(values: Sequence[Sequence[KeyedCells]], *, all_at_once: bool) -> list[tuple[KeyedCells, ...]]:
    if all_at_once or len(values) < 2:
        return list(product(*values))
    return [pair for i, one in enumerate(values) for other in values[i + 1 :] for pair in product(one, other)]


def _most_doses(families: Sequence[KeyedCells]) -> list[KeyedCells]:
    """Of the families that differ in what the dose is relative to alone, that with the longest law."""
    best: dict[tuple[object, ...], KeyedCells] = {}
    for key, cells in families:
        same = tuple(v for name, v in key.config if name not in BY_MODULUS or name == "p")
        rival = best.get(same)
        if rival is None or len(law_cells(cells)[0]) > len(law_cells(rival[1])[0]):
            best[same] = (key, cells)
    return list(best.values())


def _by(chosen: Sequence[KeyedCells], column: str) -> Mapping[str, Sequence[Cell]]:
    return {str(_value(key, column)): cells for key, cells in chosen}


def _value(key: FamilyKey, column: str) -> Value:
    return dict(key.config)[column]
