"""Analyses between families: losses, precisions, forks and their free runs, moduli.

Families are compared that are equal but for the columns that the comparison is about
(`grok_sweeps.analysis.table.partners`). Where none are, the comparison is still there, with the reason in place
of its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import pandas as pd

from grok_sweeps.analysis.estimate import Estimate, Named
from grok_sweeps.analysis.estimators.dissociation import dissociation
from grok_sweeps.analysis.estimators.law import law_cells
from grok_sweeps.analysis.estimators.precision import precision
from grok_sweeps.analysis.estimators.same_state import same_state
from grok_sweeps.analysis.estimators.shared_law import shared_law
from grok_sweeps.analysis.table.cells import Cell
from grok_sweeps.analysis.table.families import FamilyKey, Value
from grok_sweeps.analysis.table.partners import BY_DTYPE, BY_FORK, BY_LOSS, BY_MODULUS, partners

LOSSES, PRECISIONS, FORKS, MODULI = "dissociation", "precision", "same_state", "shared_law"

KeyedCells: TypeAlias = tuple[FamilyKey, tuple[Cell, ...]]


@dataclass(frozen=True, slots=True)
class Comparison(Named):
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
        """What the families have in common, then what they differ in; of forks the fork, whose free runs are of any."""
        if self.kind == FORKS and self.families:
            return self.families[-1].title
        parts = [key.title.split(", ") for key in self.families]
        common = [part for part in parts[0] if all(part in others for others in parts)] if parts else []
        own = (", ".join(part for part in one if part not in common) for one in parts)
        return "; ".join(filter(None, (", ".join(common), " against ".join(filter(None, own)))))

    @property
    def slug(self) -> str:
        """A name for files."""
        keys = self.families[-1:] if self.kind == FORKS else self.families
        return "-".join(filter(None, (self.kind.replace("_", "-"), *(key.slug for key in keys))))


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

    by_kind = (
        (LOSSES, BY_LOSS, families, _pairs("loss"), by_loss),
        (PRECISIONS, BY_DTYPE, families, _pairs("dtype"), by_dtype),
        (FORKS, BY_FORK, families, _forks, by_fork),
        (MODULI, BY_MODULUS, _most_doses(families), lambda group: [tuple(group)], by_modulus),
    )
    return tuple(
        comparison
        for kind, differ_in, among, choose, estimates in by_kind
        for comparison in _comparisons(kind, differ_in, among, choose, estimates)
    )


Group: TypeAlias = Sequence[KeyedCells]


def _comparisons(
    kind: str,
    differ_in: Sequence[str],
    families: Group,
    choose: Callable[[Group], list[tuple[KeyedCells, ...]]],
    estimates: Callable[[Group], tuple[Estimate, ...]],
) -> tuple[Comparison, ...]:
    """What is chosen of each group of partners; a family alone too, since half of a comparison can be a number."""
    made = []
    for places in partners([key for key, _ in families], differ_in):
        for chosen in choose([families[place] for place in places]):
            made.append(Comparison(kind, tuple(key for key, _ in chosen), estimates(chosen)))
    known = tuple(c for c in made if c.known)
    return known or tuple(made[:1]) or (Comparison(kind, (), estimates(())),)


def _pairs(column: str) -> Callable[[Group], list[tuple[KeyedCells, ...]]]:
    """Families of two values of the column: of the value with more families each, with the other's largest."""

    def choose(group: Group) -> list[tuple[KeyedCells, ...]]:
        values: dict[Value, list[KeyedCells]] = {}
        for family in group:
            values.setdefault(_value(family[0], column), []).append(family)
        if len(values) < 2:
            return [(family,) for family in group]
        chosen: list[tuple[KeyedCells, ...]] = []
        for one, other in combinations(values.values(), 2):
            more, fewer = (one, other) if len(one) >= len(other) else (other, one)
            largest = max(fewer, key=_n_runs)
            chosen += [(family, largest) if more is one else (largest, family) for family in more]
        return chosen

    return choose


def _forks(group: Group) -> list[tuple[KeyedCells, ...]]:
    """Each family of forks with one of the families that hold the free runs, which these share."""
    forks = [family for family in group if _value(family[0], "fork_step") is not None]
    free = [family for family in group if _value(family[0], "fork_step") is None][:1]
    return [(*free, fork) for fork in forks] or [tuple(free)]


def _n_runs(family: KeyedCells) -> int:
    return sum(cell.n_counted for cell in family[1])


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
