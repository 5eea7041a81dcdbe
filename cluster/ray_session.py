"""What the driver needs of Ray: to be connected, and to know how many packs can train at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from grok_sweeps.cluster.resources import Resources
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore

Tell = Callable[[str], None]


class RaySession(Protocol):
    """A Ray to train packs on. `scratch` is a folder for what Tune wants to write, there once it is started."""

    scratch: str
    bad_nodes: frozenset[str]
    """Nodes on which no pack can train."""

    def prepare(
        self, execution: Execution, store: SweepStore, tell: Tell, stopped: Callable[[], bool]
    ) -> Resources | None:
        """Make sure that packs can train, and say what each takes; None where a stop was asked for meanwhile.

        Raises:
            ClusterError: they cannot.
        """

    def start(self) -> None:
        """Be connected; again is nothing."""

    def on_loss(self, end: Callable[[str], None]) -> None:
        """`end` is called, from a thread, with the reason once Ray has died under the driver and hangs."""

    def close(self) -> None:
        """Leave, and clean up."""

    def workers(self) -> int:
        """How many packs can train at once now."""

    def most_taken(self) -> int:
        """How many packs may be taken at once, those included that wait for a worker."""

    def has_room_without(self, nodes: frozenset[str]) -> bool:
        """Whether a pack finds room on another node than these."""
