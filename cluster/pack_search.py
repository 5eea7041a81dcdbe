"""Where Tune gets its trials: each is the next pack of a queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from grok_sweeps.cluster.monitor import Monitor
from grok_sweeps.cluster.pack_queue import PackQueue
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.unpickled import Unpickled
from grok_sweeps.errors import StoreError
from grok_sweeps.plan import Pack


class PackSearch(Unpickled, Searcher):
    """Gives each new trial the next pack of a queue, as many as the session has use for.

    `publish` writes the pack to the store; a store that refuses it closes the queue, and the monitor knows. `pinned`
    are the trials that avoid nodes, with their pack and the time since when they wait; who starts one takes it out.
    """

    def __init__(
        self, queue: PackQueue, publish: Callable[[Pack], None], monitor: Monitor, session: RaySession
    ) -> None:
        super().__init__()
        self._queue, self._publish, self._monitor, self._session = queue, publish, monitor, session
        self.pinned: dict[str, tuple[str, float]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next pack as a trial's config."""
        full = not self._queue.is_over and self._queue.taken >= self._session.most_taken()
        attempt = None if full else self._queue.take()
        if attempt is None:
            return str(Searcher.FINISHED) if self._queue.is_over else None
        try:
            self._publish(attempt.pack)
        except StoreError as error:
            self._monitor.sweep_failed(str(error))
            self._queue.close()
            return str(Searcher.FINISHED)
        avoid = self._session.bad_nodes
        avoid |= attempt.avoid if self._session.has_room_without(attempt.avoid) else frozenset()
        if avoid:
            self.pinned[trial_id] = (attempt.pack.pack_id, time.monotonic())
        return {"pack": attempt.pack.pack_id, "is_last": attempt.is_last, "avoid": sorted(avoid)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback tells the queue, since it knows the pack."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is left."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is left."""
