"""Where Tune meets the driver: where its packs come from, who hears what becomes of them, and what a stop waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.search import Searcher

from cluster.monitor import Monitor
from cluster.pack_queue import PackQueue
from cluster.stop_request import StopRequest

STOP_WAIT_S = 60.0
"""Longest wait for the packs under way to write their states before Tune ends them."""


class _Unpickled:
    """Tune pickles what it is given for a restore that this project never does; what it holds stays here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PackSearch(_Unpickled, Searcher):
    """Gives each new trial the next pack of a queue."""

    def __init__(self, queue: PackQueue) -> None:
        super().__init__()
        self._queue = queue

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next pack's id as a trial's config."""
        pack_id = self._queue.take()
        if pack_id is None:
            return str(Searcher.FINISHED) if self._queue.is_over else None
        return {"pack": pack_id}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback tells the queue, since it knows the pack."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is left."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is left."""


class PackProgress(_Unpickled, Callback):
    """Tells the monitor and the queue what becomes of each trial; `under_way` are the trials that train now."""

    def __init__(self, monitor: Monitor, queue: PackQueue) -> None:
        self._monitor, self._queue = monitor, queue
        self.under_way: set[str] = set()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has a pack."""
        self.under_way.add(trial.trial_id)
        self._monitor.pack_started(trial.config["pack"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker reports."""
        if "store_error" in result:
            self._monitor.store_failed(result["store_error"])
        elif "run_steps" in result:
            self._monitor.pack_reported(trial.config["pack"], result)
            for note in result["notes"]:
                self._monitor.event(note)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack's attempt ended by itself."""
        self.under_way.discard(trial.trial_id)
        self._queue.done(trial.config["pack"])
        self._monitor.pack_ended(trial.config["pack"], "pending" if trial.last_result.get("stopped") else "done")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker is lost, or what it ran has raised."""
        self.under_way.discard(trial.trial_id)
        pack_id = trial.config["pack"]
        again = self._queue.lost(pack_id, _first_line(trial.get_error()), progressed=self._monitor.has_written(pack_id))
        self._monitor.pack_ended(pack_id, "pending" if again else "failed")
        n = self._monitor.pack_lost(pack_id)
        times = "" if n == 1 else f" ({n} times by now)"
        if again:
            self._monitor.event(f"pack {pack_id}: worker lost{times}, starting again from its newest state")
        else:
            self._monitor.event(f"pack {pack_id}: worker lost{times}, gave up after repeated failures")


class StopAfterStates(_Unpickled, tune.Stopper):
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
                return False
            self._queue.close()
            self._request.make()
            self._waits_for = frozenset(self._under_way())
            self._until = self._clock() + STOP_WAIT_S
        return not self._waits_for & self._under_way() or self._clock() >= self._until


def _first_line(error: BaseException) -> str:
    """The message of the exception at the root of Ray's wrapping."""
    text = str(error).strip().splitlines()
    for line in reversed(text):
        if "Error: " in line:
            return line.split("Error: ", 1)[1]
    return text[-1] if text else repr(error)
