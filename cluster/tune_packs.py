"""The adapter between Ray Tune and a `Schedule`: callbacks become events, the schedule's actions become trials.

One trial is one attempt at a pack. Tune asks for trials (`Searcher`), tells what becomes of them (`Callback`), and asks
whether it is over (`Stopper`). None of the three decides anything.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from grok_sweeps.cluster.ray_private import actor_id, actor_of, last_words, node_of
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.schedule import (
    Action,
    Ended,
    EndWorker,
    Event,
    Failed,
    FailureKind,
    FailureReported,
    Reported,
    RoomChanged,
    Say,
    Schedule,
    Start,
    StopAsked,
    StoreFailed,
    TellWorkersToStop,
    TrialWanted,
    WorkerReady,
)
from grok_sweeps.cluster.stop_request import StopRequest
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.errors import ClusterError, StoreError
from grok_sweeps.plan import Pack
from grok_sweeps.train.failed import one_line

MOST_CHARACTERS = 300
"""Of what a worker wrote before it died."""
ATTEMPT = "attempt"
"""The key of a trial's config under which its attempt's number stands."""


class TunePacks:
    """Runs a stage's schedule on Ray Tune.

    Args:
        schedule: decides.
        session: the Ray; it knows what room there is.
        publish: writes what a worker needs to train a pack.
        left: which runs of a pack have more to do, by run id.
        say: tells the user.
        stepped: called whenever the schedule has taken something in.
        stopped: whether a stop was asked for; asked to stop where another driver has taken over.
        request: how the workers are told of it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        schedule: Schedule,
        session: RaySession,
        *,
        publish: Callable[[Pack], None],
        left: Callable[[Pack], frozenset[str]],
        say: Callable[[str], None],
        stepped: Callable[[], None],
        stopped: StopOnSignal,
        request: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedule, self._session = schedule, session
        self._publish, self._left, self._say, self._stepped = publish, left, say, stepped
        self._stopped, self._request, self._clock = stopped, request, clock
        self._packs: dict[int, Pack] = {}
        self._trials: dict[int, Any] = {}
        self._nodes: dict[int, str | None] = {}
        self._actors: dict[int, str | None] = {}

    def run(self, trainable: type, config: Mapping[str, Any]) -> int:
        """Train until the schedule is over; return how many trials were started. `config` is part of each trial's.

        Raises:
            ClusterError: Tune cannot write its own state.
        """
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is told in one line
        tuner = tune.Tuner(
            trainable,
            param_space=dict(config),
            tune_config=tune.TuneConfig(search_alg=_Trials(self), num_samples=-1, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=self._session.scratch,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # it would need shared storage
                callbacks=[_Reports(self)],
                stop=_End(self),
            ),
        )
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"ray\.")  # its own deprecations
                return len(tuner.fit())
        except OSError as error:
            raise ClusterError(
                f"Ray cannot use its temporary folder {self._session.scratch}: {one_line(error)}; make room, or set "
                "RAY_TMPDIR to another folder, and run the same command again."
            ) from error

    def next_trial(self) -> dict[str, Any] | str | None:
        """The next attempt as a trial's config; None while there is none, FINISHED once there is none any more."""
        if self._stopped.is_set():
            self.tell(StopAsked())
        for action in self.tell(TrialWanted()):
            try:
                self._publish(action.pack)
            except StoreError as error:
                self.tell(StoreFailed(str(error)))
                break
            self._packs[action.attempt] = action.pack
            avoid = sorted(action.avoid)
            return {"pack": action.pack.pack_id, "is_last": action.is_last, "avoid": avoid, ATTEMPT: action.attempt}
        return str(Searcher.FINISHED) if self._schedule.wants_no_more() else None

    def tell(self, *events: Event) -> list[Start]:
        """Tell the schedule; do what it wants done, but for attempts to be started, which are returned."""
        actions = self._schedule.step(events, self._clock())
        self._stepped()
        for action in actions:
            self._do(action)
        return [action for action in actions if isinstance(action, Start)]

    def _do(self, action: Action) -> None:
        match action:
            case EndWorker(number) if (actor := actor_of(self._trials.get(number))) is not None:
                self._nodes[number] = node_of(actor)
                ray.kill(actor)
            case TellWorkersToStop():
                self._request.make()
            case Say(text):
                self._say(text)

    def look_around(self) -> None:
        """Tell what no callback of Tune tells: whether a stop was asked for, what room there is, that time passes."""
        events: list[Event] = [StopAsked()] if self._stopped.is_set() else []
        room = self._session.room()
        if room != self._schedule.room:
            events.append(RoomChanged(room))
        self.tell(*events)

    def is_over(self) -> bool:
        """Whether Tune is to end."""
        return self._schedule.is_over(self._clock())

    def started(self, trial: Any) -> None:
        """A trial has a worker."""
        number = trial.config[ATTEMPT]
        self._trials[number] = trial
        self._actors[number] = actor_id(actor_of(trial))
        self.tell(WorkerReady(number))

    def reported(self, trial: Any, result: Mapping[str, Any]) -> None:
        """A trial's worker has reported."""
        number = trial.config[ATTEMPT]
        for key, how in (("raised", FailureKind.RAISED), ("unusable", FailureKind.UNUSABLE_NODE)):
            if key in result:
                self.tell(FailureReported(number, result["node"], how, result[key], result["files_written"]))
                return
        if "lease_lost" in result:
            self._stopped.ask(result["lease_lost"])
            self.tell(StopAsked())
        if "run_steps" not in result:
            return
        for note in result["notes"]:
            self._say(note)
        self.tell(
            Reported(
                number,
                result["node"],
                run_steps=result["run_steps"],
                idle_lane_steps=result["idle_lane_steps"],
                run_steps_under_way=result["run_steps_under_way"],
                lanes_active=result["lanes_active"],
                files_written=result["files_written"],
                preempted=result["preempted"],
            )
        )

    def ended(self, trial: Any) -> None:
        """A trial has ended by itself."""
        number = trial.config[ATTEMPT]
        self._forget(number)
        self.tell(Ended(number, stopped=bool((trial.last_result or {}).get("stopped"))))

    def failed(self, trial: Any) -> None:
        """What a trial's worker ran has raised, or the worker is lost."""
        number = trial.config[ATTEMPT]
        began = number in self._trials
        pack, node = self._forget(number)
        words = self._last_words(number, trial.trainable_name, began=began)
        try:
            left = self._left(pack) if pack is not None else None
        except StoreError as error:
            self.tell(StoreFailed(str(error)), Failed(number, None, node, words))
        else:
            self.tell(Failed(number, left, node, words))

    def _forget(self, number: int) -> tuple[Pack | None, str | None]:
        self._trials.pop(number, None)
        return self._packs.pop(number, None), self._nodes.pop(number, None)

    def _last_words(self, number: int, class_name: str, *, began: bool) -> str | None:
        """The end of what an attempt's worker wrote before it died."""
        if not self._schedule.cause_is_unknown(number):
            return None
        if began:
            words = last_words(self._actors[number], class_name)
        else:
            words = last_words(None, class_name, frozenset(actor for actor in self._actors.values() if actor))
        return words and words[-MOST_CHARACTERS:]


class _NotPickled:
    """Tune pickles what it is given, for a restore that this project never does."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Trials(_NotPickled, Searcher):
    """Where Tune gets its trials."""

    def __init__(self, packs: TunePacks) -> None:
        super().__init__()
        self._packs = packs

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's config."""
        return self._packs.next_trial()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: `_Reports` knows the pack."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is left."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is left."""


class _Reports(_NotPickled, tune.Callback):
    """What Tune tells."""

    def __init__(self, packs: TunePacks) -> None:
        self._packs = packs

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune has dealt with an event, or waited for one for a while."""
        self._packs.look_around()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has a pack."""
        self._packs.started(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker reports."""
        self._packs.reported(trial, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An attempt ended by itself."""
        self._packs.ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An attempt failed."""
        self._packs.failed(trial)


class _End(_NotPickled, tune.Stopper):
    """Whether Tune is to end."""

    def __init__(self, packs: TunePacks) -> None:
        self._packs = packs

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for itself."""
        return False

    def stop_all(self) -> bool:
        """Whether the experiment ends now."""
        return self._packs.is_over()
