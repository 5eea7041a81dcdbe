"""What Ray Tune is given and what it tells, without Ray: trials are attempts of a schedule, and end as it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher
from test_schedule import RUNS, packs

import grok_sweeps.cluster.tune_packs
from grok_sweeps.cluster.schedule import Limits, Room, Schedule
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.cluster.tune_packs import TunePacks
from grok_sweeps.errors import StoreError
from grok_sweeps.plan import Pack
from grok_sweeps.plan.packs import pack_of

REPORT = {
    "node": "a",
    "run_steps": 5,
    "idle_lane_steps": 0,
    "run_steps_under_way": 5,
    "lanes_active": 1,
    "files_written": 0,
    "preempted": False,
    "notes": ["one lane"],
}


@dataclass
class Driven:
    """`TunePacks` with what it is given, of which a test can change all."""

    room: Room = field(default_factory=lambda: Room(2, 2, {"a": 1, "b": 1}))
    stopped: StopOnSignal = field(default_factory=StopOnSignal)
    now: float = 0.0
    store_error: StoreError | None = None
    published: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    requests: int = 0
    killed: list[Any] = field(default_factory=list)
    scratch: str = ""

    def __post_init__(self) -> None:
        limits = Limits(3, stall_after_s=10.0)
        self.schedule = Schedule([pack_of(runs, 2) for runs in packs(2, 1)], limits, self.room)
        session = SimpleNamespace(room=lambda: self.room, scratch="")
        self.packs = TunePacks(
            self.schedule,
            session,  # type: ignore[arg-type]
            publish=self.publish,
            left=self.left,
            say=self.said.append,
            stepped=lambda: None,
            stopped=self.stopped,
            request=SimpleNamespace(make=self.request),  # type: ignore[arg-type]
            clock=lambda: self.now,
        )

    def publish(self, pack: Pack) -> None:
        if self.store_error:
            raise self.store_error
        self.published.append(pack.pack_id)

    def left(self, pack: Pack) -> frozenset[str]:
        if self.store_error:
            raise self.store_error
        return frozenset(run.run_id for run in pack.runs)

    def request(self) -> None:
        self.requests += 1

    def trial(self, **result: Any) -> Any:
        """A trial that has come up, with its last result."""
        config = self.packs.next_trial()
        trial = SimpleNamespace(config=config, last_result=result, trainable_name="PackTrial", actor=object())
        self.packs.started(trial)
        return trial


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> Driven:
    """The actor of a trial is its attribute `actor`, on node `b`."""
    made = Driven()
    module = grok_sweeps.cluster.tune_packs
    monkeypatch.setattr(module, "actor_of", lambda trial: getattr(trial, "actor", None))
    monkeypatch.setattr(module, "actor_id", lambda actor: "id")
    monkeypatch.setattr(module, "node_of", lambda actor: "b")
    monkeypatch.setattr(module, "last_words", lambda *_: "out of luck")
    monkeypatch.setattr(module.ray, "kill", made.killed.append)
    return made


def test_a_trial_is_an_attempt_at_a_published_pack(driven: Driven) -> None:
    first, second = driven.packs.next_trial(), driven.packs.next_trial()
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert [first["pack"], second["pack"]] == driven.published
    assert (first["attempt"], second["attempt"], first["is_last"], first["avoid"]) == (1, 2, False, [])
    assert driven.packs.next_trial() is None, "there is no room, and they may come back"


def test_trials_end_when_their_packs_have(driven: Driven) -> None:
    for _ in range(2):
        trial = driven.trial()
        driven.packs.reported(trial, REPORT)
        assert not driven.packs.is_over()
        driven.packs.ended(trial)
    assert driven.packs.next_trial() == Searcher.FINISHED
    assert driven.packs.is_over()
    assert driven.said == ["one lane", "one lane"]
    assert driven.schedule.run_steps == 10


def test_a_lost_worker_s_pack_is_a_new_trial_and_its_last_words_are_told(driven: Driven) -> None:
    trial = driven.trial()
    driven.packs.failed(trial)
    assert driven.said[-1].startswith(f"pack {trial.config['pack']} lost its worker, which said: out of luck; ")
    again = driven.packs.next_trial()
    assert isinstance(again, dict)
    assert (again["pack"], again["attempt"]) == (trial.config["pack"], 2)


@pytest.mark.parametrize(("key", "says"), [("raised", "raised no luck"), ("unusable", "cannot train on its node")])
def test_what_a_worker_says_of_its_failure_is_told(key: str, says: str, driven: Driven) -> None:
    trial = driven.trial()
    driven.packs.reported(trial, {key: "no luck", "files_written": 0, "node": "a"})
    driven.packs.failed(trial)
    assert says in driven.said[-1]
    assert "out of luck" not in driven.said[-1]


def test_a_stalled_trial_s_worker_is_killed_and_its_node_avoided(driven: Driven) -> None:
    trial = driven.trial()
    driven.packs.reported(trial, {**REPORT, "node": None})
    for _ in range(11):
        driven.now += 1.0
        driven.packs.look_around()
    assert driven.killed == [trial.actor]
    driven.packs.failed(trial)
    again = driven.packs.next_trial()
    assert isinstance(again, dict)
    assert again["avoid"] == ["b"]


def test_a_stop_reaches_the_workers_once_and_no_trial_begins(driven: Driven) -> None:
    trial = driven.trial()
    driven.stopped.ask("enough")
    assert driven.packs.next_trial() == Searcher.FINISHED
    driven.packs.look_around()
    assert driven.requests == 1
    assert not driven.packs.is_over()
    trial.last_result = {"stopped": True}
    driven.packs.ended(trial)
    assert driven.packs.is_over()
    assert driven.schedule.packs["pending"] == 2


def test_a_pack_that_cannot_be_published_ends_the_sweep_with_the_reason(driven: Driven) -> None:
    driven.store_error = StoreError("the disk is full")
    assert driven.packs.next_trial() == Searcher.FINISHED
    assert driven.schedule.errors == ["the disk is full"]
    assert driven.packs.is_over()


def test_rows_that_cannot_be_read_after_a_failure_end_the_sweep_with_the_reason(driven: Driven) -> None:
    trial = driven.trial()
    driven.store_error = StoreError("no answer")
    driven.packs.failed(trial)
    assert driven.schedule.errors == ["no answer"]
    assert driven.packs.is_over()


def test_room_that_changes_is_told_once(driven: Driven) -> None:
    driven.packs.look_around()
    assert driven.said == []
    driven.room = Room(1, 1, {"a": 1})
    driven.packs.look_around()
    driven.packs.look_around()
    assert driven.said == ["room for 1 packs at once, 2 before"]
    assert len(RUNS) > 3


def test_a_worker_whose_driver_was_replaced_stops_the_sweep_and_nothing_begins(driven: Driven) -> None:
    trial = driven.trial(lease_lost="taken over", stopped=True)
    driven.packs.reported(trial, trial.last_result)
    driven.packs.ended(trial)
    assert driven.stopped.reason == "taken over"
    assert driven.packs.next_trial() == Searcher.FINISHED
    assert driven.packs.is_over()
