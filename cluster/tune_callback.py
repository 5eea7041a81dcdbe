"""Where Tune meets the driver: where its packs come from, who hears what becomes of them, and what a stop waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.search import Searcher

from cluster.monitor import Monitor
from cluster.nodes import node_of
from cluster.pack_queue import Next, PackQueue
from cluster.ray_session import RaySession
from cluster.stalls import Stalls
from cluster.stop_request import StopRequest
from grok_sweeps.errors import StoreError
from grok_sweeps.plan import Pack

STOP_WAIT_S = 60.0
"""Longest wait for the packs under way to write their states before Tune ends them."""
MOST_CHARACTERS = 300
"""Of what Ray says about a lost worker."""
_BECOMES: dict[Next, dict[str, int]] = {
    Next.AGAIN: {"pending": 1},
    Next.HALVES: {"pending": 2},
    Next.OVER: {"done": 1},
    Next.GIVEN_UP: {"failed": 1},
    Next.LEFT: {"pending": 1},
}
_SAYS = {
    Next.AGAIN: "; it starts again from its newest state",
    Next.HALVES: "; its halves are tried by themselves",
    Next.OVER: "; each of its runs has its row",
    Next.GIVEN_UP: "; it is given up",
    Next.LEFT: "",
}


class _Unpickled:
    """Tune pickles what it is given for a restore that this project never does; what it holds stays here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PackSearch(_Unpickled, Searcher):
    """Gives each new trial the next pack of a queue, as many as the session has use for.

    `publish` writes the pack to the store; a store that refuses it closes the queue, and the monitor knows.
    """

    def __init__(
        self, queue: PackQueue, publish: Callable[[Pack], None], monitor: Monitor, session: RaySession
    ) -> None:
        super().__init__()
        self._queue, self._publish, self._monitor, self._session = queue, publish, monitor, session

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
        return {"pack": attempt.pack.pack_id, "is_last": attempt.is_last, "avoid": sorted(avoid)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback tells the queue, since it knows the pack."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is left."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is left."""


class PackProgress(_Unpickled, Callback):
    """Tells the monitor and the queue what becomes of each trial.

    `left` gives the run_ids that are still to do; `under_way` are the trials that train now. A trial that has stalled
    is ended here, and its pack starts elsewhere.
    """

    def __init__(
        self,
        monitor: Monitor,
        queue: PackQueue,
        left: Callable[[], frozenset[str]],
        stalls: Stalls,
        session: RaySession,
    ) -> None:
        self._monitor, self._queue, self._left, self._stalls, self._session = monitor, queue, left, stalls, session
        self._failed: dict[str, dict[str, Any]] = {}
        self._preempted: set[str] = set()
        self._stalled: dict[str, str | None] = {}
        self.under_way: set[str] = set()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune has dealt with an event, or waited for one for a while."""
        stalled = set(self._stalls.stalled())
        for trial in trials if stalled else ():
            if trial.trial_id in stalled and trial.temporary_state.ray_actor is not None:
                self._stalled[trial.trial_id] = node_of(trial.temporary_state.ray_actor)
                ray.kill(trial.temporary_state.ray_actor)
        self._monitor.workers_changed(self._session.workers())

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has a pack."""
        self.under_way.add(trial.trial_id)
        self._stalls.began(trial.trial_id)
        self._monitor.pack_started(trial.config["pack"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker reports."""
        if "raised" in result or "useless" in result:
            self._failed[trial.trial_id] = result
        elif "run_steps" in result:
            self._stalls.reported(trial.trial_id, result["run_steps"])
            if result.get("preempted"):
                self._preempted.add(trial.trial_id)
            self._monitor.pack_reported(trial.config["pack"], result)
            for note in result["notes"]:
                self._monitor.event(note)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack's attempt ended by itself."""
        self._over(trial)
        self._queue.ended(trial.config["pack"], trial.last_result.get("node"))
        left = trial.last_result.get("stopped", False)
        self._monitor.pack_ended(trial.config["pack"], **{"pending" if left else "done": 1})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """What a worker ran has raised, or the worker is lost."""
        self._over(trial)
        pack_id = trial.config["pack"]
        try:
            left = self._left()
        except StoreError as error:
            self._monitor.sweep_failed(str(error))
            self._queue.close()
            left = None
        report = self._failed.pop(trial.trial_id, {})
        node = (trial.last_result or {}).get("node") or self._stalled.get(trial.trial_id)
        progressed = self._monitor.has_written(pack_id) or report.get("files_written", 0) > 0
        if trial.trial_id in self._preempted:
            then, said = self._queue.handed_back(pack_id, left), "left its node, which is about to go"
        elif "raised" in report:
            why = report["raised"]
            then = self._queue.raised(pack_id, why, left, progressed=report["files_written"] > 0, node=node)
            said = f"raised {why}"
        elif "useless" in report:
            why = report["useless"]
            if not self._session.has_room_without(frozenset({node or ""})):
                self._monitor.sweep_failed(why)
                self._queue.close()
            then = self._queue.lost(pack_id, why, left, progressed=progressed, node=node)
            said = f"cannot train on its node: {why}"
        else:
            stalled = trial.trial_id in self._stalled
            why = f"no step in {self._stalls.after_s:g} s" if stalled else _last_line(trial.get_error())
            then = self._queue.lost(pack_id, why, left, progressed=progressed, node=node)
            said = f"made {why}" if stalled else f"lost its worker{self._monitor.pack_lost(pack_id)}"
        self._monitor.pack_ended(pack_id, **_BECOMES[then])
        self._monitor.event(f"pack {pack_id} {said}{_SAYS[then]}")

    def _over(self, trial: Any) -> None:
        self.under_way.discard(trial.trial_id)
        self._stalls.ended(trial.trial_id)


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


def _last_line(error: BaseException | None) -> str:
    """The last line of what Ray says, which says most."""
    lines = str(error or "").strip().splitlines()
    return lines[-1][:MOST_CHARACTERS] if lines else "no reason is known"
