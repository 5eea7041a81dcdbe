"""What the driver needs of Ray: to be connected, and to know where packs can train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from grok_sweeps.cluster.resources import Resources
from grok_sweeps.cluster.schedule import Room
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore

Tell = Callable[[str], None]


class RaySession(Protocol):
    """A Ray to train packs on. `scratch` is a folder for what Tune wants to write, there once it is started."""

    scratch: str

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

    def room(self) -> Room:
        """Where packs can train now."""
