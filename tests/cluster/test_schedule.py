"""Which pack is tried next, how a run that breaks its pack is found, when a pack is given up, and how a stop goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    Say,
    Schedule,
    Start,
    StopAsked,
    StoreFailed,
    TellWorkersToStop,
    TrialWanted,
    WorkerReady,
)
from grok_sweeps.cluster.schedule.schedule import (
    FAILED_STARTS,
    FAILURES_OF_A_NODE,
    HOPELESS,
    NOTHING_BEGINS_S,
    START_S,
    WAIT_FOR_OTHER_NODES_S,
)
from grok_sweeps.cluster.stopping import STATES_WAIT_S
from grok_sweeps.plan import make_plan
from grok_sweeps.plan.packs import Pack, pack_of
from grok_sweeps.plan.plan import PlannedRun
from grok_sweeps.spec import parse_spec

RUNS = make_plan(parse_spec("name: made\nruns: {p: 5, seeds: 64}\n")).runs
ALL = frozenset(run.run_id for run in RUNS)
NODES = dict.fromkeys("abcdefgh", 8)
STALL_S = 10.0


def packs(*sizes: int) -> list[tuple[PlannedRun, ...]]:
    """Runs in packs of these sizes."""
    cut = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
    return [RUNS[a:b] for a, b in pairwise(cut)]


def room_of(workers: int, **changes: object) -> Room:
    return Room(workers, **{"most_in_flight": 1000, "packs_on": NODES, **changes})  # type: ignore[arg-type]


class Driven:
    """A schedule that a test drives, with its own clock."""

    def __init__(
        self,
        *sizes: int,
        max_failures: int = 3,
        room: Room | None = None,
        cut: Callable[[Sequence[PlannedRun], int], Sequence[Pack]] = lambda *_: (),
    ) -> None:
        limits = Limits(max_failures, STALL_S)
        self.schedule = Schedule([pack_of(runs, 2) for runs in packs(*sizes)], limits, room or room_of(1), cut)
        self.now = 0.0
        self.said: list[str] = []

    def tell(self, *events: Event, after: float = 0.0) -> list[Action]:
        """Tell what has happened `after` seconds; what was said is kept."""
        actions = self.wait(after)
        actions += self.schedule.step(events, self.now)
        self.said += [action.text for action in actions if isinstance(action, Say)]
        return [action for action in actions if not isinstance(action, Say)]

    def wait(self, seconds: float) -> list[Action]:
        """Time passes, in which the driver listens."""
        actions: list[Action] = []
        for _ in range(int(seconds)):
            self.now += 1.0
            actions += self.schedule.step((), self.now)
        self.now += seconds % 1
        return actions

    def take(self, *, ready: bool = True) -> Start | None:
        """The next attempt; its worker comes up at once unless told otherwise."""
        for action in self.tell(TrialWanted()):
            assert isinstance(action, Start)
            if ready:
                self.tell(WorkerReady(action.attempt))
            return action
        return None

    def took(self, *, ready: bool = True) -> Start:
        start = self.take(ready=ready)
        assert start is not None
        return start

    def progress(self, start: Start, node: str = "a", steps: int = 1) -> None:
        self.tell(Reported(start.attempt, node, run_steps=steps, files_written=steps))

    def lose(
        self,
        start: Start,
        left: frozenset[str] | None = ALL,
        *,
        progressed: bool = False,
        node: str | None = None,
        words: str | None = None,
    ) -> None:
        """The attempt's worker is gone."""
        if progressed or node:
            self.tell(Reported(start.attempt, node, run_steps=1, files_written=int(progressed)))
        self.tell(Failed(start.attempt, left, node, words))

    def raise_(self, start: Start, left: frozenset[str] | None = ALL, *, n_files: int = 0) -> None:
        """The attempt's pack raises."""
        self.tell(
            FailureReported(start.attempt, "a", FailureKind.RAISED, "said so", n_files), Failed(start.attempt, left)
        )

    @property
    def over(self) -> bool:
        return self.schedule.is_over(self.now)


@dataclass
class Workers:
    """Take attempts until the schedule is over, and do with each what `acts` says.

    `acts` gets the run_ids that the attempt has left to do and returns: done, lost or raised, and the runs it finishes
    before that.
    """

    driven: Driven
    acts: Callable[[list[str]], tuple[str, list[str]]]
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    attempts: int = 0

    def work(self) -> Workers:
        while (start := self.driven.take()) is not None:
            self.attempts += 1
            assert self.attempts < 2000, "it comes to an end"
            todo = [r.run_id for r in start.pack.runs if r.run_id not in self.done | self.failed]
            how, finished = self.acts(todo)
            assert not set(finished) & self.done, "nothing is trained twice"
            self.done.update(finished)
            if how == "done":
                self.driven.tell(Ended(start.attempt))
                continue
            if how == "raised" and start.is_last and not finished:
                self.failed.update(todo)
            left = ALL - self.done - self.failed
            if how == "raised":
                self.driven.raise_(start, left, n_files=len(finished))
            else:
                self.driven.lose(start, left, progressed=bool(finished))
        assert self.driven.over
        return self


def breaks(poison: set[str], how: str = "raised") -> Callable[[list[str]], tuple[str, list[str]]]:
    """Workers that finish all of a pack, or nothing if it holds one of `poison`."""
    return lambda todo: (how, []) if poison & set(todo) else ("done", todo)


def ids(*places: int) -> set[str]:
    return {RUNS[k].run_id for k in places}


def test_packs_are_started_once_in_their_order_and_then_it_is_over() -> None:
    driven = Driven(3, 2, 1)
    started = [driven.took() for _ in range(3)]
    assert [start.pack.runs for start in started] == packs(3, 2, 1)
    assert driven.take() is None
    assert not driven.over, "any of them may come back"
    assert driven.schedule.packs == {"pending": 0, "running": 3, "done": 0, "failed": 0}
    for start in started:
        driven.tell(Ended(start.attempt))
    assert driven.over
    assert driven.schedule.packs == {"pending": 0, "running": 0, "done": 3, "failed": 0}
    assert not driven.schedule.given_up


def test_no_more_are_in_flight_than_there_is_use_for() -> None:
    driven = Driven(1, 1, 1, room=room_of(1, most_in_flight=2))
    first = driven.took()
    driven.took(ready=False)
    assert driven.take() is None
    driven.tell(Ended(first.attempt))
    assert driven.take() is not None


@pytest.mark.parametrize("max_failures", [0, 1, 3])
def test_a_run_that_kills_its_worker_is_given_up_after_failures_in_a_row_and_fails_nothing(max_failures: int) -> None:
    workers = Workers(Driven(1, 1, max_failures=max_failures), breaks(ids(0), "lost")).work()
    assert workers.attempts == 1 + max_failures + 1
    assert workers.done == ids(1)
    assert not workers.failed
    assert workers.driven.schedule.given_up == [
        f"its worker was lost {max_failures + 1} times in a row without progress: no reason is known"
    ]


def test_progress_makes_any_number_of_lost_workers_bearable() -> None:
    workers = Workers(Driven(64, max_failures=0), lambda todo: ("lost" if len(todo) > 1 else "done", todo[:1])).work()
    assert workers.attempts == 64
    assert workers.done == ALL
    assert not workers.driven.schedule.given_up


def test_a_pack_that_loses_its_worker_is_not_split_while_it_has_tries() -> None:
    driven = Driven(4, max_failures=2)
    for _ in range(3):
        start = driven.took()
        assert len(start.pack.runs) == 4
        driven.lose(start)
    assert driven.said[-1].endswith("; its halves are tried by themselves")
    first, second = driven.took(), driven.took()
    assert [len(first.pack.runs), len(second.pack.runs)] == [2, 2]
    assert (first.pack.runs + second.pack.runs) == RUNS[:4]


def test_a_pack_that_raises_once_is_tried_again_whole() -> None:
    driven = Driven(4)
    start = driven.took()
    driven.raise_(start)
    assert driven.said == [f"pack {start.pack.pack_id} raised said so; it starts again from its newest state"]
    again = driven.took()
    assert again.pack == start.pack
    driven.tell(Ended(again.attempt))
    assert driven.over


def test_one_bad_run_of_many_fails_alone_after_a_search_by_halves() -> None:
    workers = Workers(Driven(64), breaks(ids(37))).work()
    assert workers.failed == ids(37)
    assert len(workers.done) == 63
    assert workers.attempts == 2 + 2 * 6, "the whole twice, then two halves at each of six levels"


def test_a_run_alone_in_its_pack_is_tried_twice_before_it_fails() -> None:
    workers = Workers(Driven(1, 1), breaks(ids(0))).work()
    assert (workers.failed, workers.done, workers.attempts) == (ids(0), ids(1), 3)


def test_with_max_failures_0_nothing_is_tried_again_as_it_is() -> None:
    workers = Workers(Driven(2, max_failures=0), breaks(ids(0))).work()
    assert (workers.failed, workers.done, workers.attempts) == (ids(0), ids(1), 3)


@settings(max_examples=200)
@given(st.data())
def test_whatever_raises_fails_and_everything_else_is_done(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 16), min_size=1, max_size=4))
    n = sum(sizes)
    poison = ids(*data.draw(st.sets(st.integers(0, n - 1), max_size=3)))
    max_failures = data.draw(st.integers(1, 4))

    def acts(todo: list[str]) -> tuple[str, list[str]]:
        """Finish some good runs, and then meet a bad one or lose the worker."""
        good = [run for run in todo if run not in poison]
        n_finished = data.draw(st.integers(0, len(good)))
        if n_finished and data.draw(st.booleans()):
            return "lost", good[:n_finished]
        return ("raised", good[:n_finished]) if poison & set(todo) else ("done", good)

    workers = Workers(Driven(*sizes, max_failures=max_failures, room=room_of(4)), acts).work()
    assert workers.failed == poison
    assert workers.done == ids(*range(n)) - poison
    assert not workers.driven.schedule.given_up


def test_where_nothing_makes_progress_everything_is_given_up_in_the_end() -> None:
    workers = Workers(Driven(32, 32, max_failures=1, room=room_of(2)), lambda todo: ("raised", [])).work()
    assert workers.attempts == HOPELESS * 2 * 2
    (why,) = workers.driven.schedule.given_up
    assert why.startswith(f"no pack made progress in {HOPELESS * 4} attempts in a row, the last because")


def test_a_pack_that_failed_after_its_last_row_is_done() -> None:
    driven = Driven(2)
    driven.raise_(driven.took(), frozenset(), n_files=1)
    assert driven.over
    assert driven.schedule.packs["done"] == 1


def test_a_pack_that_failed_without_progress_avoids_its_node_and_so_do_its_halves() -> None:
    driven = Driven(4, max_failures=1)
    avoided = []
    for node, progressed in (("a", False), ("b", True), ("c", False), ("d", False)):
        start = driven.took()
        avoided.append(start.avoid)
        driven.lose(start, progressed=progressed, node=node)
    assert avoided == [frozenset(), {"a"}, {"a"}, {"a", "c"}], "b let it get on"
    assert [driven.took().avoid, driven.took().avoid] == [{"a", "c", "d"}] * 2


def test_a_pack_goes_back_to_a_node_that_it_failed_on_where_there_is_no_other() -> None:
    driven = Driven(2, room=room_of(1, packs_on={"a": 1, "full": 0}))
    driven.lose(driven.took(), node="a")
    assert driven.took().avoid == frozenset()


def test_no_pack_goes_to_a_node_that_cannot_train() -> None:
    driven = Driven(1, room=room_of(1, unusable=frozenset("b")))
    assert driven.took().avoid == {"b"}


def test_a_node_where_nothing_makes_progress_is_avoided_by_all_packs_until_one_does() -> None:
    for good in (False, True):
        driven = Driven(*[1] * (FAILURES_OF_A_NODE + 2))
        for k, start in enumerate([driven.took() for _ in range(FAILURES_OF_A_NODE)]):
            driven.lose(start, progressed=good and k == 1, node="doubtful")
        last = [driven.took() for _ in range(FAILURES_OF_A_NODE + 2)][-1]
        assert last.avoid == (frozenset() if good else {"doubtful"})


def test_a_pack_that_is_handed_back_waits_again_and_has_not_failed() -> None:
    driven = Driven(2, max_failures=0)
    for _ in range(3 * HOPELESS):
        start = driven.took()
        assert start.avoid == frozenset()
        driven.tell(Reported(start.attempt, "a", 0, preempted=True), Failed(start.attempt, ALL))
    start = driven.took()
    driven.tell(Reported(start.attempt, "a", 0, preempted=True), Failed(start.attempt, frozenset()))
    assert driven.over
    assert not driven.schedule.given_up


def test_a_machine_that_cannot_train_ends_the_sweep_only_where_there_is_no_other() -> None:
    for elsewhere in (False, True):
        driven = Driven(1, room=room_of(1, packs_on={"a": 1, "b": int(elsewhere)}))
        start = driven.took()
        failure = FailureReported(start.attempt, "a", FailureKind.UNUSABLE_NODE, "no access")
        actions = driven.tell(failure, Failed(start.attempt, ALL))
        assert (driven.schedule.errors == ["no access"]) is not elsewhere
        assert (actions == [TellWorkersToStop()]) is not elsewhere
        again = driven.take()
        assert (again is not None and again.avoid == {"a"}) is elsewhere


def quarters(runs: Sequence[PlannedRun], workers: int) -> list[Pack]:
    return [pack_of(runs[k::workers], 2) for k in range(workers)]


def test_packs_that_wait_are_cut_anew_as_room_grows_and_those_that_failed_are_not() -> None:
    driven = Driven(8, 8, 8, cut=quarters)
    driven.lose(driven.took())
    driven.tell(RoomChanged(room_of(4)))
    assert driven.said[-1] == "room for 4 packs at once, 1 before"
    assert driven.schedule.packs["pending"] == 5
    taken = [driven.took() for _ in range(5)]
    assert [len(start.pack.runs) for start in taken] == [8, 4, 4, 4, 4]
    assert {run.run_id for start in taken for run in start.pack.runs} == {run.run_id for run in RUNS[:24]}
    driven.tell(RoomChanged(room_of(0)))
    assert driven.said[-1] == "room for 0 packs at once, 4 before; waiting for nodes"


def test_fewer_or_equal_packs_are_no_reason_to_cut_anew() -> None:
    driven = Driven(2, 2, cut=lambda runs, _: [pack_of(runs, 2)])
    driven.tell(RoomChanged(room_of(4)))
    assert [len(driven.took().pack.runs) for _ in range(2)] == [2, 2]


def test_a_pack_that_finds_no_room_elsewhere_may_go_anywhere_and_its_old_attempt_counts_no_more() -> None:
    driven = Driven(2)
    driven.lose(driven.took(), node="a")
    pinned = driven.took(ready=False)
    assert pinned.avoid == {"a"}
    driven.tell(after=WAIT_FOR_OTHER_NODES_S + 1)
    free = driven.took(ready=False)
    assert free.avoid == frozenset()
    driven.tell(after=WAIT_FOR_OTHER_NODES_S + 1)
    assert driven.take() is None, "there is nothing else to wait for"
    assert driven.tell(WorkerReady(pinned.attempt)) == [EndWorker(pinned.attempt)]
    driven.tell(Failed(pinned.attempt, ALL))
    assert driven.schedule.packs == {"pending": 1, "running": 0, "done": 0, "failed": 0}
    driven.tell(WorkerReady(free.attempt), Ended(free.attempt))
    assert driven.over


def test_a_pack_has_stalled_when_its_steps_stand_still_however_often_it_reports() -> None:
    driven = Driven(1, 1, room=room_of(2))
    trains, reports = driven.took(), driven.took()
    driven.tell(Reported(reports.attempt, "b", 7))
    for steps in range(1, 3):
        assert driven.tell(Reported(trains.attempt, "a", steps), Reported(reports.attempt, "b", 7), after=4.0) == []
    assert driven.tell(Reported(trains.attempt, "a", 3), after=4.0) == [EndWorker(reports.attempt)]
    assert driven.tell(Reported(trains.attempt, "a", 4), after=4.0) == [], "it is told once"
    assert driven.tell(Reported(trains.attempt, "a", 5), after=8.0) == [EndWorker(reports.attempt)], "and then again"
    driven.lose(reports, progressed=False, node="b")
    assert driven.said == [
        f"pack {reports.pack.pack_id} made no step in 10 s; it starts again from its newest state",
    ]


def test_a_stalled_pack_goes_elsewhere_even_if_it_had_made_progress() -> None:
    driven = Driven(2, max_failures=0)
    start = driven.took()
    driven.progress(start, "a")
    assert driven.tell(after=STALL_S + 1) == [EndWorker(start.attempt)]
    driven.tell(Failed(start.attempt, ALL, "a"))
    assert driven.took().avoid == {"a"}


def test_a_worker_that_starts_has_a_limit_of_its_own_that_grows_with_tries() -> None:
    driven = Driven(2, max_failures=3)
    for tries in range(3):
        start = driven.took()
        assert driven.tell(after=START_S * 2**tries - 1) == []
        assert driven.tell(after=2.0) == [EndWorker(start.attempt)]
        driven.lose(start)
    assert f"made no first step in {4 * START_S:g} s" in driven.said[-1]


def test_a_pack_that_waits_for_a_worker_does_not_stall() -> None:
    driven = Driven(2)
    driven.took(ready=False)
    assert driven.tell(after=1e4) == []


@pytest.mark.parametrize("starts", [True, False])
def test_time_in_which_the_driver_hears_nothing_counts_for_no_attempt(*, starts: bool) -> None:
    driven = Driven(1, 1, 1, room=room_of(3))
    attempts = [driven.took() for _ in range(3)]
    if not starts:
        for start in attempts:
            driven.tell(Reported(start.attempt, "a", 1))
    driven.now += 1e6  # it was stopped, or waited for the store
    assert driven.tell(Failed(attempts[0].attempt, ALL)) == []
    assert driven.wait(5.0) == []
    limit = START_S if starts else STALL_S
    assert driven.wait(limit) == [EndWorker(start.attempt) for start in attempts[1:]]


def test_a_node_is_not_blamed_for_one_pack_however_often_it_fails_there() -> None:
    driven = Driven(8, 1, max_failures=0, room=room_of(2, packs_on={"a": 1}))
    for _ in range(2 * FAILURES_OF_A_NODE):
        driven.lose(driven.took(), node="a")
    driven.tell(RoomChanged(room_of(2, packs_on={"a": 1, "b": 1})))
    fresh = [start for start in (driven.take() for _ in range(20)) if start and start.pack.runs == packs(8, 1)[1]]
    assert [start.avoid for start in fresh] == [frozenset()]


def test_a_worker_that_is_told_twice_or_too_late_changes_nothing() -> None:
    driven = Driven(1, 1)
    start = driven.took()
    assert driven.tell(WorkerReady(start.attempt), Ended(start.attempt), WorkerReady(start.attempt)) == []
    assert driven.schedule.packs == {"pending": 1, "running": 0, "done": 1, "failed": 0}


def test_that_nothing_begins_is_said_now_and_then() -> None:
    driven = Driven(2)
    driven.took(ready=False)
    for _ in range(5):
        driven.tell(after=NOTHING_BEGINS_S / 2 + 1)
    assert len(driven.said) == 2
    assert all(text.startswith(f"no pack has begun in {NOTHING_BEGINS_S:g} s") for text in driven.said)


def test_losses_are_not_hopeless_while_another_pack_makes_progress() -> None:
    driven = Driven(2, 2, max_failures=0)
    steady = driven.took()
    for k in range(3 * HOPELESS):
        start = driven.took()
        driven.progress(steady, "good", steps=k + 1)
        driven.lose(start, progressed=True)
    assert not driven.schedule.given_up


def test_workers_that_do_not_come_up_are_tried_twice_each() -> None:
    driven = Driven(8, room=room_of(2))
    for k in range(FAILED_STARTS * 2):
        assert not driven.schedule.given_up, k
        driven.lose(driven.took(ready=False), words="no libnothing")
    assert driven.over
    assert driven.schedule.given_up[0].startswith("no worker comes up, 4 were tried; ")
    assert driven.schedule.given_up[0].endswith("no libnothing")


def test_where_a_worker_has_come_up_those_that_die_at_their_start_were_killed() -> None:
    driven = Driven(8)
    driven.tell(Ended(driven.took().attempt, stopped=True))
    for _ in range(2 * FAILED_STARTS):
        driven.lose(driven.took(ready=False), words="a warning")
    assert not driven.schedule.given_up


def test_how_often_a_pack_has_lost_its_worker_is_said() -> None:
    driven = Driven(2)
    for _ in range(2):
        driven.lose(driven.took(), words="killed")
    name = driven.said[0].split()[1]
    end = ", which said: killed; it starts again from its newest state"
    assert driven.said == [f"pack {name} lost its worker{end}", f"pack {name} lost its worker (2 times by now){end}"]
    assert driven.schedule.worker_losses == 2


def test_a_store_that_refuses_what_every_pack_needs_ends_the_sweep_with_its_reason() -> None:
    driven = Driven(2, 2)
    start = driven.took()
    assert driven.tell(StoreFailed("the disk is full"), Failed(start.attempt, None)) == [TellWorkersToStop()]
    assert driven.schedule.errors == ["the disk is full"]
    assert driven.take() is None
    assert driven.over
    assert driven.schedule.packs["pending"] == 2


def test_steps_and_lanes_are_counted_over_all_attempts_and_those_under_way() -> None:
    driven = Driven(2, 2, room=room_of(2))
    first, second = driven.took(), driven.took()
    driven.tell(Reported(first.attempt, "a", 10, 1, 8, 2), Reported(second.attempt, "a", 5, 0, 5, 1))
    driven.tell(Reported(first.attempt, "a", 30, 2, 20, 1), Failed(second.attempt, ALL))
    found = driven.schedule
    counted = (found.run_steps, found.idle_lane_steps, found.run_steps_under_way, found.lanes_active)
    assert counted == (35, 2, 20, 1)


def stopping(n_ready: int, n_not: int = 0) -> tuple[Driven, list[Start]]:
    """A schedule that was asked to stop with so many attempts at work, and pending, and packs that wait."""
    driven = Driven(*[1] * (n_ready + n_not + 1))
    started = [driven.took() for _ in range(n_ready)]
    started += [driven.took(ready=False) for _ in range(n_not)]
    assert not driven.over
    assert driven.tell(StopAsked()) == [TellWorkersToStop()]
    return driven, started


def test_a_stop_is_told_once_and_waits_until_every_attempt_at_work_is_over() -> None:
    driven, (first, second) = stopping(2)
    assert not driven.over
    assert driven.tell(StopAsked(), Ended(first.attempt, stopped=True)) == []
    assert not driven.over
    assert driven.take() is None, "nothing begins any more"
    driven.lose(second)
    assert driven.over
    assert driven.schedule.packs == {"pending": 3, "running": 0, "done": 0, "failed": 0}
    assert not driven.schedule.given_up


def test_an_attempt_that_begins_after_the_stop_is_not_waited_for() -> None:
    driven, (late,) = stopping(0, 1)
    assert driven.over
    driven.tell(WorkerReady(late.attempt))
    assert driven.over


def test_a_worker_that_does_not_answer_is_waited_for_no_longer_than_the_bound_and_is_not_ended_meanwhile() -> None:
    driven, _ = stopping(1)
    assert driven.tell(after=STATES_WAIT_S - 1) == []
    assert not driven.over
    driven.tell(after=1.0)
    assert driven.over
