"""What a campaign found, and the table of all campaigns. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench.tables import Cell, Table
from tests.faults.compare import Losses
from tests.faults.kinds import CampaignName

COLUMNS = (
    "store",
    "faults of kind",
    "faults",
    "runs",
    "rows lost",
    "duplicated",
    "grokked_steps different",
    "final states different",
    "curves different",
    "orphans",
    "drivers too many",
    "work repeated",
    "resumes",
    "hung",
    "wall s",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One campaign.

    Attributes:
        faults: injected, by kind.
        sweeps: how many the faults were spread over.
        runs: planned by them all.
        orphans: processes that did not end by themselves.
        steps_trained: by all attempts, in run-steps.
        steps_needed: to train the rows once.
        resumes: commands after the first, over all sweeps.
        hung: commands that trained nothing for so long that they were killed.
        too_many: drivers that did not give way to the one that holds the lease.
        left_out: why the campaign was not held; None if it was.
        notes: what commands said that ended unfinished, what orphans are called, what faults did; and how often.
        moments: what began when, in seconds since the campaign did.
    """

    name: CampaignName
    faults: Mapping[str, int] = field(default_factory=dict)
    sweeps: int = 0
    runs: int = 0
    losses: Losses = field(default_factory=Losses)
    orphans: int = 0
    steps_trained: int = 0
    steps_needed: int = 0
    resumes: int = 0
    hung: int = 0
    wall_s: float = 0.0
    too_many: int = 0
    left_out: str | None = None
    notes: Mapping[str, int] = field(default_factory=dict)
    moments: Sequence[tuple[float, str]] = ()

    @property
    def n_faults(self) -> int:
        """Faults of all kinds."""
        return sum(self.faults.values())

    @property
    def broken(self) -> bool:
        """Whether a promise is broken."""
        return self.losses.any or self.orphans > 0 or self.too_many > 0

    def to_json(self) -> dict[str, Any]:
        """Values by name."""
        return asdict(self)


def broken(outcomes: Sequence[Outcome]) -> bool:
    """Whether a promise is broken in any campaign."""
    return any(outcome.broken for outcome in outcomes)


def table(outcomes: Sequence[Outcome], seed: int) -> Table:
    """All campaigns and their totals."""
    held = [outcome for outcome in outcomes if outcome.left_out is None]
    rows = [*map(_row, outcomes), _total(held)]
    note = (
        "Work repeated: run-steps trained by all attempts over those of the rows, minus 1. "
        "A command is hung that trains nothing for minutes; it is killed, and the sweep resumed."
    )
    return Table("faults", f"Fault campaigns, seed {seed}", COLUMNS, tuple(rows), note)


def _row(outcome: Outcome) -> tuple[Cell, ...]:
    name = outcome.name
    if outcome.left_out is not None:
        return (name.store, name.kind, f"left out: {outcome.left_out}", *[None] * (len(COLUMNS) - 3))
    return (name.store, name.kind, *_figures([outcome]))


def _total(outcomes: Sequence[Outcome]) -> tuple[Cell, ...]:
    return ("all", None, *_figures(outcomes))


def _figures(outcomes: Sequence[Outcome]) -> tuple[Cell, ...]:
    losses = sum((outcome.losses for outcome in outcomes), Losses())
    trained = sum(outcome.steps_trained for outcome in outcomes)
    needed = sum(outcome.steps_needed for outcome in outcomes)
    return (
        sum(outcome.n_faults for outcome in outcomes),
        sum(outcome.runs for outcome in outcomes),
        losses.lost,
        losses.duplicated,
        losses.different,
        losses.states_differ,
        losses.curves_differ,
        sum(outcome.orphans for outcome in outcomes),
        sum(outcome.too_many for outcome in outcomes),
        f"{100 * (trained / needed - 1):.1f} %" if needed else None,
        sum(outcome.resumes for outcome in outcomes),
        sum(outcome.hung for outcome in outcomes),
        round(sum(outcome.wall_s for outcome in outcomes)),
    )
