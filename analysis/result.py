"""What an analysis is: frozen values that every renderer reads and none changes."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.cells import Cell
from analysis.collapse import Collapse
from analysis.curves import CellCurve
from analysis.estimate import Estimate
from analysis.families import FamilyKey

SOURCE = "arXiv:2606.18465"
"""The paper whose estimates these are."""


@dataclass(frozen=True, slots=True)
class Family:
    """Everything about the runs that share all config but the intervention and the seed."""

    key: FamilyKey
    cells: tuple[Cell, ...]
    collapse: Collapse
    recovery: Estimate
    curves: tuple[CellCurve, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Runs by outcome; `n_planned` is None where the plan is unknown, `n_unknown` are rows no estimate uses."""

    n_rows: int
    n_planned: int | None
    n_grokked: int
    n_censored: int
    n_diverged: int
    n_failed: int
    n_unknown: int

    @property
    def n_missing(self) -> int | None:
        """Planned runs that have no row yet."""
        return None if self.n_planned is None else max(0, self.n_planned - self.n_rows)


@dataclass(frozen=True, slots=True)
class Analysis:
    """All estimates of one sweep, what was left out, and what the numbers depend on."""

    sweep: str
    counts: Counts
    families: tuple[Family, ...]
    notes: tuple[str, ...]
    resamples: int
    seed: int
    versions: tuple[tuple[str, str], ...]
