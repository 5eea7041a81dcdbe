"""A pack that waits, and one try at it."""

from __future__ import annotations

from dataclasses import dataclass

from grok_sweeps.cluster.schedule.events import FailureReported, Reported
from grok_sweeps.plan.packs import Pack


@dataclass(frozen=True, slots=True)
class Queued:
    """A pack that waits, with its failures in a row without progress.

    Attributes:
        pack: the runs.
        lost: attempts that lost their worker.
        raised: attempts that raised an exception.
        suspect: it is part of a pack that raised as often as is allowed.
        failed_on: the nodes of these attempts.
        ignores_avoided_nodes: it has waited for other nodes in vain.
        halved_from: the id of the pack that it is part of, if any.
    """

    pack: Pack
    lost: int = 0
    raised: int = 0
    suspect: bool = False
    failed_on: frozenset[str] = frozenset()
    ignores_avoided_nodes: bool = False
    halved_from: str | None = None


@dataclass(slots=True)
class Attempt:
    """All that is known of one try at a pack, from the request for a worker to its end.

    Times are monotonic seconds.

    Attributes:
        number: which attempt of the stage it is.
        queued: the pack, and how its earlier attempts failed.
        is_last: it is one run, which gets the outcome `failed` if it raises now.
        avoid: nodes that it does not go to.
        asked_at: when Ray was asked for a worker.
        ready_at: when a worker took the pack.
        stepped_at: when its count of steps last rose; None before the first step.
        report: its last report.
        failure: the exception or the unusable node that it has reported.
        ended_for: why the driver ended its worker.
        ended_at: when it did so last.
    """

    number: int
    queued: Queued
    is_last: bool
    avoid: frozenset[str]
    asked_at: float
    ready_at: float | None = None
    stepped_at: float | None = None
    report: Reported | None = None
    failure: FailureReported | None = None
    ended_for: str | None = None
    ended_at: float | None = None

    @property
    def node(self) -> str | None:
        """The id of its node, where it has reported."""
        told = self.failure or self.report
        return told.node if told else None

    @property
    def files_written(self) -> int:
        """Files of rows and of states that it has written."""
        return max(told.files_written if told else 0 for told in (self.failure, self.report))

    @property
    def preempted(self) -> bool:
        """Whether it hands its pack back, since its node is about to go."""
        return self.report is not None and self.report.preempted
