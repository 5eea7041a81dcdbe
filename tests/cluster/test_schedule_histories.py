"""A schedule in thousands of random histories: whatever happens, every run ends once or has a reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_schedule import RUNS, STALL_S, ids, packs, quarters

from grok_sweeps.cluster.schedule import (
    Action,
    Ended,
    EndWorker,
    Event,
    Failed,
    FailureKind,
    FailureReported,
    Limits,
    Reported,
    Room,
    RoomChanged,
    Schedule,
    Start,
    StopAsked,
    StoreFailed,
    TellWorkersToStop,
    TrialWanted,
    WorkerReady,
)
from grok_sweeps.cluster.schedule.schedule import START_S, WAIT_FOR_OTHER_NODES_S
from grok_sweeps.cluster.stopping import STATES_WAIT_S
from grok_sweeps.plan.packs import pack_of

NODES = ("a", "b", "c")
AT_ONCE = 4
MOST_ATTEMPTS = 3000


@dataclass
class Flight:
    """An attempt that Ray knows of; it has no node while it waits for a worker."""

    start: Start
    node: str | None = None
    run_steps: int = 0
    files: int = 0
    preempted: bool = False
    told_to_end: bool = False


@dataclass
class Cluster:
    """What is true, whether or not the schedule knows: which runs and nodes are bad, and what has its row."""

    raises: set[str] = field(default_factory=set)
    kills: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    unusable: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)


class Histories(RuleBasedStateMachine):
    """Ray, its workers and its nodes, which do what they like; a `Schedule` that is told of it."""

    @initialize(
        sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
        raises=st.sets(st.integers(0, 23), max_size=2),
        kills=st.sets(st.integers(0, 23), max_size=2),
        broken=st.sets(st.sampled_from("ab"), max_size=1),
        unusable=st.sets(st.sampled_from("ab"), max_size=2),
        max_failures=st.integers(0, 3),
    )
    def begin(
        self,
        sizes: list[int],
        raises: set[int],
        kills: set[int],
        broken: set[str],
        unusable: set[str],
        max_failures: int,
    ) -> None:
        self.n_runs = sum(sizes)
        self.max_failures = max_failures
        within = range(self.n_runs)
        given = ids(*raises.intersection(within)), ids(*kills.intersection(within))
        self.truth = Cluster(*given, broken, unusable - broken)
        self.schedule = Schedule(
            [pack_of(runs, 2) for runs in packs(*sizes)], Limits(max_failures, STALL_S), self.room(2), quarters
        )
        self.flights: dict[int, Flight] = {}
        self.now = 0.0
        self.stopped = False
        self.fair = True
        """Whether no worker was killed at random so far."""
        self.n_attempts = 0

    def room(self, workers: int) -> Room:
        return Room(workers, AT_ONCE, dict.fromkeys(NODES, 2))

    def tell(self, *events: Event) -> list[Action]:
        actions = self.schedule.step(events, self.now)
        for action in actions:
            if isinstance(action, EndWorker) and action.attempt in self.flights:
                self.flights[action.attempt].told_to_end = True
                self.fair = False
            if isinstance(action, TellWorkersToStop):
                assert not self.stopped, "told once"
                self.stopped = True
        return actions

    def left(self) -> frozenset[str]:
        settled = self.truth.done | self.truth.failed
        return frozenset(run.run_id for run in RUNS if run.run_id not in settled)

    def todo(self, flight: Flight) -> list[str]:
        left = self.left()
        return [run.run_id for run in flight.start.pack.runs if run.run_id in left]

    @property
    def at_work(self) -> list[int]:
        return sorted(number for number, flight in self.flights.items() if flight.node is not None)

    @rule()
    def ray_wants_a_trial(self) -> None:
        for action in self.tell(TrialWanted()):
            if isinstance(action, Start):
                self.n_attempts += 1
                assert self.n_attempts < MOST_ATTEMPTS, "it comes to an end"
                assert not self.stopped, "nothing starts after a stop"
                assert set(NODES) - action.avoid, "no pack is kept from every node"
                self.flights[action.attempt] = Flight(action)

    @precondition(lambda self: len(self.at_work) < len(self.flights))
    @rule(data=st.data())
    def a_worker_comes_up(self, data: st.DataObject) -> None:
        waiting = sorted(set(self.flights) - set(self.at_work))
        number = data.draw(st.sampled_from(waiting))
        flight = self.flights[number]
        flight.node = data.draw(st.sampled_from(sorted(set(NODES) - flight.start.avoid)))
        self.tell(WorkerReady(number))

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), steps=st.integers(0, 3))
    def a_pack_trains(self, data: st.DataObject, steps: int) -> None:
        number = data.draw(st.sampled_from(self.at_work))
        flight = self.flights[number]
        if flight.node in self.truth.broken | self.truth.unusable:
            return
        good = [run for run in self.todo(flight) if run not in self.truth.raises | self.truth.kills]
        finished = good[: data.draw(st.integers(0, 2))]
        if number in self.schedule._attempts:
            self.truth.done.update(finished)
            flight.files += bool(finished)
        flight.run_steps += steps
        self.report(number)

    def report(self, number: int) -> None:
        flight = self.flights[number]
        self.tell(Reported(number, flight.node, flight.run_steps, files_written=flight.files))

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def an_attempt_ends_as_it_must(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(self.at_work)))

    def end(self, number: int) -> None:
        """The attempt comes to what its node and its runs make of it."""
        flight = self.flights.pop(number)
        todo = set(self.todo(flight))
        if flight.told_to_end or flight.node in self.truth.broken or self.truth.kills & todo:
            self.tell(Failed(number, self.left(), flight.node))
            return
        if flight.node in self.truth.unusable:
            failure = FailureReported(number, flight.node, FailureKind.UNUSABLE_NODE, "no access")
            self.tell(failure, Failed(number, self.left()))
            return
        if self.truth.raises & todo:
            if flight.start.is_last and not flight.files:
                self.truth.failed |= todo
            failure = FailureReported(number, flight.node, FailureKind.RAISED, "said so", flight.files)
            self.tell(failure, Failed(number, self.left()))
            return
        self.truth.done |= todo
        self.tell(Ended(number))

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def a_worker_is_killed(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.flights)))
        flight = self.flights.pop(number)
        self.fair = self.fair and flight.node is None
        self.tell(Failed(number, self.left(), flight.node))

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def a_node_is_preempted(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.at_work))
        flight = self.flights.pop(number)
        report = Reported(number, flight.node, flight.run_steps, files_written=flight.files, preempted=True)
        self.tell(report, Failed(number, self.left()))

    @rule(seconds=st.sampled_from([0.1, 1.0, STALL_S + 1, WAIT_FOR_OTHER_NODES_S + 1, START_S + 1]))
    def time_passes(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.tell()

    @rule(seconds=st.sampled_from([STALL_S + 1, 1e6]))
    def the_driver_is_stopped_for_a_while(self, seconds: float) -> None:
        self.now += seconds
        assert not any(isinstance(action, EndWorker) for action in self.tell()), "no pack is blamed for that"

    @rule(workers=st.integers(0, 4))
    def nodes_come_and_go(self, workers: int) -> None:
        self.tell(RoomChanged(self.room(workers)))

    @rule(really=st.integers(0, 9))
    def a_stop_is_asked_for(self, really: int) -> None:
        if really == 0:
            self.tell(StopAsked())
            assert self.stopped

    @rule(really=st.integers(0, 19))
    def the_store_fails(self, really: int) -> None:
        if really == 0:
            self.tell(StoreFailed("cannot be written"))
            assert self.stopped
            assert self.schedule.errors

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "schedule"):
            return
        counts = self.schedule.packs
        assert min(counts.values()) >= 0, counts
        queued = len(self.schedule._queue)
        attempts = self.schedule._attempts.values()
        assert counts["running"] == sum(attempt.ready_at is not None for attempt in attempts)
        assert counts["pending"] == queued + sum(attempt.ready_at is None for attempt in attempts)
        assert len(attempts) <= AT_ONCE

    @invariant()
    def no_run_is_in_two_packs(self) -> None:
        if not hasattr(self, "schedule"):
            return
        queued = [queued.pack for queued in self.schedule._queue]
        flying = [attempt.queued.pack for attempt in self.schedule._attempts.values()]
        runs = [run.run_id for pack in (*queued, *flying) for run in pack.runs]
        assert len(runs) == len(set(runs))

    def teardown(self) -> None:
        """From now on the weather is fair: only what is bad by itself fails."""
        if not hasattr(self, "schedule"):
            return
        self.tell(RoomChanged(self.room(2)))
        if self.stopped:
            self.time_passes(STATES_WAIT_S)
            assert self.schedule.is_over(self.now)
            self.ray_wants_a_trial()
            return
        while not self.schedule.is_over(self.now):
            self.ray_wants_a_trial()
            for number in sorted(self.flights):
                flight = self.flights[number]
                if flight.node is None:
                    flight.node = min(set(NODES) - flight.start.avoid)
                    self.tell(WorkerReady(number))
                self.end(number)
        if self.stopped:
            assert self.schedule.errors, "no node can be used"
            assert self.truth.unusable
            return
        assert not self.truth.done & self.truth.failed
        assert self.truth.failed <= self.truth.raises, "no run fails for what a node or another run did"
        missing = ids(*range(self.n_runs)) - self.truth.done - self.truth.failed
        given_up, counts = self.schedule.given_up, self.schedule.packs
        assert bool(missing) == bool(given_up), "a run without a row has a reason"
        if not self.schedule._closed:
            assert counts["pending"] == counts["running"] == 0
            if self.max_failures and self.fair and not self.truth.broken | self.truth.unusable:
                assert missing <= self.truth.kills, "no run is blamed for what another run did"


class ManyHistories(Histories):
    """The same, for the second tier."""


def histories(n: int) -> settings:
    return settings(max_examples=n, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))


TestHistories = Histories.TestCase
TestHistories.settings = histories(300)
TestManyHistories = pytest.mark.slow(ManyHistories.TestCase)
TestManyHistories.settings = histories(2000)
