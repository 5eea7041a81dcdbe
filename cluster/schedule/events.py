"""What a schedule is told, and what it wants done. An `attempt` is the number of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from grok_sweeps.plan.packs import Pack


@dataclass(frozen=True, slots=True)
class Room:
    """Where packs can train now.

    Attributes:
        workers: packs that can train at once.
        most_in_flight: packs that Ray may know of at once, those that wait for a worker included.
        packs_on: how many packs each node holds, by node id.
        unusable: ids of nodes on which no pack can train.
    """

    workers: int
    most_in_flight: int
    packs_on: Mapping[str, int] = field(default_factory=dict)
    unusable: frozenset[str] = frozenset()

    def beside(self, nodes: Collection[str]) -> bool:
        """Whether another usable node than these holds a pack."""
        return any(n and node not in nodes and node not in self.unusable for node, n in self.packs_on.items())


class FailureKind(Enum):
    """How an attempt failed, as far as its worker could tell."""

    RAISED = "the pack raised an exception"
    UNUSABLE_NODE = "the node cannot train or cannot use the store"


@dataclass(frozen=True, slots=True)
class TrialWanted:
    """Ray can be given another pack."""


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """Nodes came or went."""

    room: Room


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker has taken the attempt's pack."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Reported:
    """An attempt trains.

    Attributes:
        attempt: its number.
        node: the id of its node.
        run_steps: steps of this attempt, over all its runs.
        idle_lane_steps: steps of lanes whose run had ended, on top of them.
        run_steps_under_way: steps of the runs in its lanes.
        lanes_active: lanes whose run has not ended.
        files_written: its files of rows and of states in the store.
        preempted: its states are written and it hands its pack back.
    """

    attempt: int
    node: str | None
    run_steps: int
    idle_lane_steps: int = 0
    run_steps_under_way: int = 0
    lanes_active: int = 0
    files_written: int = 0
    preempted: bool = False


@dataclass(frozen=True, slots=True)
class FailureReported:
    """An attempt says why it fails; its end follows as `Failed`."""

    attempt: int
    node: str | None
    kind: FailureKind
    why: str
    files_written: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt ended by itself; `stopped` where runs are left, whose states are written."""

    attempt: int
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt is over and did not end by itself.

    Attributes:
        attempt: its number.
        left: run ids of its pack that have no row; None where that cannot be known.
        node: the id of its node, where that is found out only now.
        words: the end of what its worker wrote to stderr, if that is known.
    """

    attempt: int
    left: frozenset[str] | None
    node: str | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The store refuses what every pack needs."""

    why: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A person, a budget or a scheduler wants the sweep to stop."""


@dataclass(frozen=True, slots=True)
class Start:
    """Give Ray this attempt.

    Attributes:
        attempt: its number.
        pack: what to train.
        is_last: see `Attempt`.
        avoid: ids of nodes that it must not go to.
    """

    attempt: int
    pack: Pack
    is_last: bool
    avoid: frozenset[str]


@dataclass(frozen=True, slots=True)
class EndWorker:
    """Kill the attempt's worker."""

    attempt: int


@dataclass(frozen=True, slots=True)
class TellWorkersToStop:
    """Have every worker write its lanes' states and end."""


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the user."""

    text: str


Event = TrialWanted | RoomChanged | WorkerReady | Reported | FailureReported | Ended | Failed | StoreFailed | StopAsked
Action = Start | EndWorker | TellWorkersToStop | Say
