"""What becomes of each trial, for the monitor and the queue; and what is done about trials that do not get on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.tune import Callback

from grok_sweeps.cluster.monitor import Monitor
from grok_sweeps.cluster.pack_queue import Next, PackQueue
from grok_sweeps.cluster.ray_private import actor_id, actor_of, last_words, node_of
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.stalls import Stalls
from grok_sweeps.cluster.unpickled import Unpickled
from grok_sweeps.errors import StoreError
from grok_sweeps.plan import Pack, PlannedRun

PINNED_S = 60.0
"""How long a trial that avoids nodes waits for room on others."""
HELD_S = 30.0
"""How long packs wait, and none trains, until that is said."""
MOST_CHARACTERS = 300
"""Of what a worker wrote before it died."""
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


class PackProgress(Unpickled, Callback):
    """Tells the monitor and the queue what becomes of each trial.

    A trial that has stalled is ended here, and its pack starts elsewhere. One that avoids nodes and finds no room on
    others is given up, and its pack may go anywhere. `under_way` are the trials that train now.

    Args:
        monitor: is told.
        queue: is told.
        left: the run_ids of a pack that are still to do.
        stalls: judges who gets on.
        session: knows the nodes.
        pinned: see `PackSearch`.
        cut: makes packs for the workers that there are now.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        monitor: Monitor,
        queue: PackQueue,
        left: Callable[[Pack], frozenset[str]],
        stalls: Stalls,
        session: RaySession,
        pinned: dict[str, tuple[str, float]] | None = None,
        cut: Callable[[Sequence[PlannedRun]], Sequence[Pack]] = lambda _: (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monitor, self._queue, self._left, self._stalls, self._session = monitor, queue, left, stalls, session
        self._pinned, self._cut, self._clock = {} if pinned is None else pinned, cut, clock
        self._failed: dict[str, dict[str, Any]] = {}
        self._written: dict[str, int] = {}
        self._preempted: set[str] = set()
        self._abandoned: set[str] = set()
        self._stalled: dict[str, str | None] = {}
        self._actors: dict[str, str | None] = {}
        self._workers = session.workers()
        self._idle_since: float | None = None
        self.under_way: set[str] = set()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune has dealt with an event, or waited for one for a while."""
        self._end_stalled(trials)
        self._give_up_waiting()
        self._look_at_workers()

    def _end_stalled(self, trials: Sequence[Any]) -> None:
        stalled = set(self._stalls.stalled())
        for trial in trials if stalled else ():
            if trial.trial_id in stalled and (actor := actor_of(trial)) is not None:
                self._stalled[trial.trial_id] = node_of(actor)
                ray.kill(actor)

    def _give_up_waiting(self) -> None:
        for trial_id, (pack_id, since) in list(self._pinned.items()):
            if self._clock() - since > PINNED_S:
                del self._pinned[trial_id]
                self._abandoned.add(trial_id)
                self._queue.abandoned(pack_id)

    def _look_at_workers(self) -> None:
        before, self._workers = self._workers, self._session.workers()
        self._monitor.workers_changed(self._workers)
        self._queue.workers = max(1, self._workers)
        if self._workers > before and (more := self._queue.recut(self._cut)):
            self._monitor.packs_added(more)
        if self.under_way or not self._queue.taken or not self._workers:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock()
        elif self._clock() - self._idle_since > HELD_S:
            self._monitor.event(
                f"no pack has begun in {HELD_S:g} s: others hold what the nodes have, or workers are slow to start"
            )
            self._idle_since = self._clock()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has a pack."""
        if trial.trial_id in self._abandoned:  # its pack is another trial's by now
            ray.kill(actor_of(trial))
            return
        self._pinned.pop(trial.trial_id, None)
        self.under_way.add(trial.trial_id)
        self._actors[trial.trial_id] = actor_id(actor_of(trial))
        self._queue.began()
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
            if result.get("files_written", 0) > self._written.get(trial.trial_id, 0):
                self._written[trial.trial_id] = result["files_written"]
                self._queue.got_on(result.get("node"))
            if result.get("preempted"):
                self._preempted.add(trial.trial_id)
            self._monitor.pack_reported(trial.config["pack"], result)
            for note in result["notes"]:
                self._monitor.event(note)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack's attempt ended by itself."""
        if self._over(trial):
            return
        self._queue.ended(trial.config["pack"], trial.last_result.get("node"))
        left = trial.last_result.get("stopped", False)
        self._monitor.pack_ended(trial.config["pack"], **{"pending" if left else "done": 1})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """What a worker ran has raised, or the worker is lost."""
        began = trial.trial_id in self.under_way
        if self._over(trial):
            return
        pack_id = trial.config["pack"]
        try:
            left = self._left(self._queue.pack(pack_id))
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
        elif trial.trial_id in self._stalled:
            why = f"no step in {self._stalls.after_s:g} s"
            said = f"made {why}"
            then = self._queue.lost(pack_id, why, left, progressed=progressed, node=node, stalled=True)
        else:
            words = None if progressed else self._last_words(trial, began)
            why = words or ("no reason is known" if began else "it did not start")
            came_up = began or words is None  # one that was killed says nothing, and is no sign of what the next does
            then = self._queue.lost(pack_id, why, left, progressed=progressed, node=node, came_up=came_up)
            said = f"lost its worker{self._monitor.pack_lost(pack_id)}" + (f", which said: {words}" if words else "")
        self._monitor.pack_ended(pack_id, **_BECOMES[then])
        self._monitor.event(f"pack {pack_id} {said}{_SAYS[then]}")

    def _last_words(self, trial: Any, began: bool) -> str | None:
        """The end of what a trial's worker wrote before it died."""
        started = frozenset(actor for actor in self._actors.values() if actor)
        words = last_words(self._actors.get(trial.trial_id) if began else None, trial.trainable_name, started)
        return words and words[-MOST_CHARACTERS:]

    def _over(self, trial: Any) -> bool:
        """A trial is over; whether it was abandoned before, so that its end means nothing."""
        self.under_way.discard(trial.trial_id)
        self._written.pop(trial.trial_id, None)
        self._pinned.pop(trial.trial_id, None)
        self._stalls.ended(trial.trial_id)
        return trial.trial_id in self._abandoned
