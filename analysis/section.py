"""One analysis as every renderer shows it: what is asked, its numbers, and what one must know to read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from grok_sweeps.analysis.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Compared:
    """One quantity by convention `paper` and by convention `runs`, and the second minus the first."""

    name: str
    paper: Estimate
    runs: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Group:
    """Estimates that belong together: all of a section, or those of one pair of cells in it."""

    label: str
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One analysis of one family, or of families against each other.

    `headline` names the estimates to read first. `missing` says why there is no number at all, or is empty.
    """

    name: str
    title: str
    question: str
    headline: tuple[str, ...]
    compared: tuple[Compared, ...] = ()
    groups: tuple[Group, ...] = ()
    caveat: str = ""

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """All numbers."""
        return tuple(self._all())

    @property
    def missing(self) -> str:
        """The reason that most of the estimates give, where none has a value; else empty."""
        if any(e.value is not None for e in self._all()):
            return ""
        reasons = Counter(e.reason for e in self._all())
        return reasons.most_common(1)[0][0] if reasons else "there is nothing to estimate"

    @property
    def headlines(self) -> tuple[Estimate, ...]:
        """The estimates to read first, in the order named; where `paper` has no value that of `runs`, so named."""
        first: dict[str, Estimate] = {}
        for row in self.compared:
            by_runs = row.paper.value is None and row.runs.value is not None
            first[row.name] = replace(row.runs, name=f"{row.name} (runs)") if by_runs else row.paper
        for group in self.groups:
            first |= {e.name: e for e in group.estimates if e.name not in first}
        return tuple(first[name] for name in self.headline if name in first)

    def _all(self) -> Iterator[Estimate]:
        for row in self.compared:
            yield from (row.paper, row.runs, row.difference)
        for group in self.groups:
            yield from group.estimates
