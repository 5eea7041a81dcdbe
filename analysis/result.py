"""What an analysis is: frozen values that every renderer reads and none changes."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from grok_sweeps.analysis.claims import Claims
from grok_sweeps.analysis.comparisons import Comparison
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.collapse import Collapse
from grok_sweeps.analysis.estimators.equivalence import Equivalence
from grok_sweeps.analysis.estimators.law import Law
from grok_sweeps.analysis.estimators.mediation import Mediation
from grok_sweeps.analysis.estimators.mediators import Mediators
from grok_sweeps.analysis.estimators.recovery import Recovery
from grok_sweeps.analysis.estimators.survival import Survival
from grok_sweeps.analysis.table.cells import Cell
from grok_sweeps.analysis.table.curves import CellCurve
from grok_sweeps.analysis.table.families import FamilyKey

SOURCE = "arXiv:2606.18465"
"""The paper whose estimates these are."""


@dataclass(frozen=True, slots=True)
class Family:
    """Everything about the runs that share all config but the intervention and the seed."""

    key: FamilyKey
    cells: tuple[Cell, ...]
    curves: tuple[CellCurve, ...]
    collapse: Collapse
    recovery: Recovery
    law: Law
    mediation: Mediation
    mediators: Mediators
    equivalence: Equivalence
    survival: Survival
    memorisation: tuple[Estimate, ...]
    allocation: tuple[Estimate, ...]
    transformer: tuple[Estimate, ...]


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
    """All estimates of some sweeps, what was left out, and what the numbers depend on.

    `comparisons` are between families: losses, precisions, forks and the free runs beside them, moduli.
    """

    sweep: str
    counts: Counts
    families: tuple[Family, ...]
    comparisons: tuple[Comparison, ...]
    claims: Claims
    notes: tuple[str, ...]
    resamples: int
    seed: int
    versions: tuple[tuple[str, str], ...]

    def _repr_html_(self) -> str:
        """The report, in a notebook: in a frame, so that its style stays its own."""
        from grok_sweeps.analysis.render import report_html  # noqa: PLC0415, since the renderers import this module

        return f'<iframe srcdoc="{escape(report_html(self))}" style="width: 100%; height: 40rem; border: 0"></iframe>'
