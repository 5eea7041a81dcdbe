"""When Tune ends its experiment early: once the packs under way have written their states."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray import tune

from grok_sweeps.cluster.pack_queue import PackQueue
from grok_sweeps.cluster.stop_request import StopRequest
from grok_sweeps.cluster.stopping import STATES_WAIT_S
from grok_sweeps.cluster.unpickled import Unpickled


class StopAfterStates(Unpickled, tune.Stopper):
    """Ends the experiment once it should stop and the packs under way have written their states, or had time to.

    Args:
        should_stop: asked between Tune's events.
        queue: closed by the stop.
        request: how the workers are told.
        under_way: the trials that train now.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        should_stop: Callable[[], bool],
        queue: PackQueue,
        request: StopRequest,
        under_way: Callable[[], set[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._should_stop, self._queue, self._request = should_stop, queue, request
        self._under_way, self._clock = under_way, clock
        self._waits_for: frozenset[str] | None = None
        self._until = 0.0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for itself."""
        return False

    def stop_all(self) -> bool:
        """Whether the experiment ends now."""
        if self._waits_for is None:
            if not self._should_stop():
                return self._queue.is_over and not self._under_way()  # an abandoned trial may wait for ever
            self._queue.close()
            self._request.make()
            self._waits_for = frozenset(self._under_way())
            self._until = self._clock() + STATES_WAIT_S
        return not self._waits_for & self._under_way() or self._clock() >= self._until
