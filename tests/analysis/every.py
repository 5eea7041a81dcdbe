"""Every analysis by name over the same families: for benches, and for tests of what none of them may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import chain

import pandas as pd

from analysis.allocation import allocation
from analysis.cells import Cell, make_cells
from analysis.collapse import collapse
from analysis.dissociation import dissociation
from analysis.equivalence import equivalence
from analysis.estimate import Estimate
from analysis.families import FamilyKey, split
from analysis.law import law
from analysis.logged import with_logged_scale
from analysis.mediation import mediation
from analysis.mediators import mediators
from analysis.memorisation import memorisation
from analysis.partners import BY_DTYPE, BY_FORK, BY_LOSS, BY_MODULUS, partners
from analysis.precision import precision
from analysis.recovery import recoveries
from analysis.same_state import same_state
from analysis.shared_law import shared_law
from analysis.survival import survival
from analysis.tables import clean
from analysis.transformer import transformer


@dataclass(frozen=True, eq=False)
class Part:
    """One family: what its runs share, their rows, and the cells with L at the logged steps."""

    key: FamilyKey
    rows: pd.DataFrame
    cells: tuple[Cell, ...]

    def __getitem__(self, column: str) -> str:
        return str(dict(self.key.config)[column])


def parts_of(runs: pd.DataFrame, curves: pd.DataFrame, sweep: str) -> tuple[Part, ...]:
    """The families of two tables."""
    tables = clean(runs, curves, sweep)
    made = []
    for key, rows in split(tables.runs):
        loss = dict(key.config)["loss"]
        cells = with_logged_scale(make_cells(rows, tables.missing), tables.curves, None if loss is None else str(loss))
        made.append(Part(key, rows, cells))
    return tuple(made)


Analysis = Callable[[Sequence[Part], int], object]


def _each(one: Callable[[Part, int], object]) -> Analysis:
    return lambda parts, resamples: [one(part, resamples) for part in parts]


def _groups(parts: Sequence[Part], differ_in: Sequence[str]) -> Iterator[list[Part]]:
    found = partners([part.key for part in parts], differ_in)
    yield from ([parts[i] for i in places] for places in found) if found else iter([list(parts)])


def _dissociation(parts: Sequence[Part], resamples: int) -> object:
    return [
        dissociation({part["loss"]: part.cells for part in group}, resamples=resamples, seed=0)
        for group in _groups(parts, BY_LOSS)
    ]


def _precision(parts: Sequence[Part], resamples: int) -> object:
    runs = pd.concat([p.rows for p in parts]) if parts else pd.DataFrame(columns=["run_id", "softmax_collapse_max"])
    return [
        precision({part["dtype"]: part.cells for part in group}, runs, resamples=resamples, seed=0)
        for group in _groups(parts, BY_DTYPE)
    ]


def _same_state(parts: Sequence[Part], resamples: int) -> object:
    made = []
    for group in _groups(parts, BY_FORK):
        forks = [c for part in group for c in part.cells if c.arm == "fork"]
        free = [c for part in group for c in part.cells if c.arm == "free"]
        made.append(same_state(forks, free, resamples=resamples, seed=0))
    return made


def _shared_law(parts: Sequence[Part], resamples: int) -> object:
    return [shared_law({part["p"]: part.cells for part in group}) for group in _groups(parts, BY_MODULUS)]


ANALYSES: dict[str, Analysis] = {
    "collapse": _each(lambda part, n: collapse(part.cells, resamples=n, seed=0)),
    "law": _each(lambda part, n: law(part.cells, resamples=n, seed=0)),
    "recoveries": _each(lambda part, n: recoveries(part.cells, loss=part["loss"], resamples=n, seed=0)),
    "mediation": _each(lambda part, n: mediation(part.cells, resamples=n, seed=0)),
    "mediators": _each(lambda part, n: mediators(part.cells, part.rows, resamples=n, seed=0)),
    "survival": _each(lambda part, n: survival(part.cells, part.rows)),
    "equivalence": _each(lambda part, n: equivalence(part.cells, resamples=n, seed=0)),
    "memorisation": _each(lambda part, n: memorisation(part.cells, resamples=n, seed=0)),
    "allocation": _each(lambda part, n: allocation(part.cells, resamples=n, seed=0)),
    "transformer": _each(lambda part, n: transformer(part.cells, arch=part["arch"], resamples=n, seed=0)),
    "same_state": _same_state,
    "dissociation": _dissociation,
    "precision": _precision,
    "shared_law": _shared_law,
}


def estimates_in(result: object) -> Iterator[Estimate]:
    """All estimates in what an analysis gives, however deep."""
    if isinstance(result, Estimate):
        yield result
    elif is_dataclass(result) and not isinstance(result, Cell):
        yield from chain.from_iterable(estimates_in(getattr(result, f.name)) for f in fields(result))
    elif isinstance(result, Iterable) and not isinstance(result, str):
        yield from chain.from_iterable(map(estimates_in, result))
