"""Which pack is tried next, how a run that breaks its pack is found, and when a pack is given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_sweeps.cluster.pack_queue import BAD_NODE, HOPELESS, STARTS, Next, PackQueue
from grok_sweeps.plan import make_plan
from grok_sweeps.plan.packs import Pack, pack_of
from grok_sweeps.plan.plan import PlannedRun
from grok_sweeps.spec import parse_spec

RUNS = make_plan(parse_spec("name: made\nruns: {p: 5, seeds: 64}\n")).runs


def packs(*sizes: int) -> list[tuple[PlannedRun, ...]]:
    """Runs in packs of these sizes."""
    cut = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
    return [RUNS[a:b] for a, b in pairwise(cut)]


def queue_of(*sizes: int, max_failures: int = 3, workers: int = 1) -> PackQueue:
    return PackQueue([pack_of(runs, 2) for runs in packs(*sizes)], max_failures, workers)


@dataclass
class Workers:
    """Take attempts until the queue is over, and do with each what `acts` says.

    `acts` gets the run_ids that the attempt has left to do and returns: done, lost or raised, and the runs it finishes
    before that.
    """

    queue: PackQueue
    acts: Callable[[list[str]], tuple[str, list[str]]]
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    attempts: int = 0

    def work(self) -> Workers:
        everything = {run.run_id for run in RUNS}
        while (attempt := self.queue.take()) is not None:
            self.attempts += 1
            assert self.attempts < 2000, "it comes to an end"
            todo = [r.run_id for r in attempt.pack.runs if r.run_id not in self.done | self.failed]
            how, finished = self.acts(todo)
            assert not set(finished) & self.done, "nothing is trained twice"
            self.done.update(finished)
            pack_id = attempt.pack.pack_id
            if how == "done":
                self.queue.ended(pack_id)
                continue
            if how == "raised" and attempt.is_last and not finished:
                self.failed.update(todo)
            left = everything - self.done - self.failed
            tell = self.queue.raised if how == "raised" else self.queue.lost
            tell(pack_id, "said so", left, progressed=bool(finished))
        assert self.queue.is_over
        return self


def breaks(poison: set[str], how: str = "raised") -> Callable[[list[str]], tuple[str, list[str]]]:
    """Workers that finish all of a pack, or nothing if it holds one of `poison`."""
    return lambda todo: (how, []) if poison & set(todo) else ("done", todo)


def ids(*places: int) -> set[str]:
    return {RUNS[k].run_id for k in places}


def test_packs_are_taken_once_in_their_order_and_then_it_is_over() -> None:
    queue = queue_of(3, 2, 1)
    taken = [queue.take(), queue.take(), queue.take()]
    assert [a.pack.runs for a in taken if a] == packs(3, 2, 1)
    assert queue.take() is None
    assert not queue.is_over, "any of them may come back"
    for attempt in taken:
        assert attempt is not None
        queue.ended(attempt.pack.pack_id)
    assert queue.is_over
    assert not queue.given_up


@pytest.mark.parametrize("max_failures", [0, 1, 3])
def test_a_run_that_kills_its_worker_is_given_up_after_failures_in_a_row_and_fails_nothing(max_failures: int) -> None:
    workers = Workers(queue_of(1, 1, max_failures=max_failures), breaks(ids(0), "lost")).work()
    assert workers.attempts == 1 + max_failures + 1
    assert workers.done == ids(1)
    assert not workers.failed
    assert workers.queue.given_up == [
        f"its worker was lost {max_failures + 1} times in a row without progress: said so"
    ]


def test_progress_makes_any_number_of_lost_workers_bearable() -> None:
    workers = Workers(queue_of(64, max_failures=0), lambda todo: ("lost" if len(todo) > 1 else "done", todo[:1])).work()
    assert workers.attempts == 64
    assert workers.done == {run.run_id for run in RUNS}
    assert not workers.queue.given_up


def test_a_pack_that_loses_its_worker_is_not_split_while_it_has_tries() -> None:
    queue = queue_of(4, max_failures=2)
    for expected in (Next.AGAIN, Next.AGAIN, Next.HALVES):
        attempt = queue.take()
        assert attempt is not None
        assert len(attempt.pack.runs) == 4
        assert queue.lost(attempt.pack.pack_id, "killed", None, progressed=False) is expected
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert [len(first.pack.runs), len(second.pack.runs)] == [2, 2]
    assert (first.pack.runs + second.pack.runs) == RUNS[:4]


def test_a_pack_that_raises_once_is_tried_again_whole() -> None:
    queue = queue_of(4)
    attempt = queue.take()
    assert attempt is not None
    assert queue.raised(attempt.pack.pack_id, "a glitch", None, progressed=False) is Next.AGAIN
    again = queue.take()
    assert again is not None
    assert again.pack == attempt.pack
    queue.ended(again.pack.pack_id)
    assert queue.is_over


def test_one_bad_run_of_many_fails_alone_after_a_search_by_halves() -> None:
    workers = Workers(queue_of(64), breaks(ids(37))).work()
    assert workers.failed == ids(37)
    assert len(workers.done) == 63
    assert workers.attempts == 2 + 2 * 6, "the whole twice, then two halves at each of six levels"


def test_a_run_alone_in_its_pack_is_tried_twice_before_it_fails() -> None:
    workers = Workers(queue_of(1, 1), breaks(ids(0))).work()
    assert (workers.failed, workers.done, workers.attempts) == (ids(0), ids(1), 3)


def test_with_max_failures_0_nothing_is_tried_again_as_it_is() -> None:
    workers = Workers(queue_of(2, max_failures=0), breaks(ids(0))).work()
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

    workers = Workers(queue_of(*sizes, max_failures=max_failures, workers=4), acts).work()
    assert workers.failed == poison
    assert workers.done == ids(*range(n)) - poison
    assert not workers.queue.given_up


def test_where_nothing_gets_on_everything_is_given_up_in_the_end() -> None:
    workers = Workers(queue_of(32, 32, max_failures=1, workers=2), lambda todo: ("raised", [])).work()
    assert workers.attempts == HOPELESS * 2 * 2
    assert len(workers.queue.given_up) == 1
    assert workers.queue.given_up[0].startswith(f"no pack got on in {HOPELESS * 4} attempts in a row, the last because")


def test_nothing_is_taken_after_the_queue_is_closed_and_what_is_lost_then_is_left() -> None:
    queue = queue_of(2, 2)
    attempt = queue.take()
    assert attempt is not None
    queue.close()
    assert queue.take() is None
    assert queue.lost(attempt.pack.pack_id, "killed", None, progressed=False) is Next.LEFT
    assert queue.take() is None
    assert queue.is_over
    assert not queue.given_up


def test_a_pack_that_failed_after_its_last_row_is_over() -> None:
    queue = queue_of(2)
    attempt = queue.take()
    assert attempt is not None
    assert queue.raised(attempt.pack.pack_id, "at the very end", set(), progressed=True) is Next.OVER
    assert queue.is_over


def test_a_pack_that_failed_without_progress_avoids_its_node_and_so_do_its_halves() -> None:
    queue = queue_of(4, max_failures=1)
    first = queue.take()
    assert first is not None
    assert first.avoid == frozenset()
    assert queue.lost(first.pack.pack_id, "gone", None, progressed=False, node="a") is Next.AGAIN
    second = queue.take()
    assert second is not None
    assert second.avoid == {"a"}
    assert queue.lost(second.pack.pack_id, "gone", None, progressed=True, node="b") is Next.AGAIN
    third = queue.take()
    assert third is not None
    assert third.avoid == {"a"}, "b let it get on"
    assert queue.lost(third.pack.pack_id, "gone", None, progressed=False, node="c") is Next.AGAIN
    fourth = queue.take()
    assert fourth is not None
    assert queue.lost(fourth.pack.pack_id, "gone", None, progressed=False, node="d") is Next.HALVES
    halves = [queue.take(), queue.take()]
    assert [half.avoid for half in halves if half] == [{"a", "c", "d"}] * 2


def test_a_node_where_nothing_gets_on_is_avoided_by_all_packs_until_one_does() -> None:
    queue = queue_of(*[1] * (BAD_NODE + 2), max_failures=3)
    for _ in range(BAD_NODE):
        attempt = queue.take()
        assert attempt is not None
        queue.lost(attempt.pack.pack_id, "gone", None, progressed=False, node="bad")
    waiting = [queue.take() for _ in range(BAD_NODE + 2)]
    assert all(attempt is not None and "bad" in attempt.avoid for attempt in waiting)
    queue = queue_of(*[1] * (BAD_NODE + 2), max_failures=3)
    for k in range(BAD_NODE):
        attempt = queue.take()
        assert attempt is not None
        queue.lost(attempt.pack.pack_id, "gone", None, progressed=k == 1, node="good")
    last = [queue.take() for _ in range(BAD_NODE + 2)][-1]
    assert last is not None
    assert last.avoid == frozenset()


def test_a_pack_that_is_handed_back_waits_again_and_has_not_failed() -> None:
    queue = queue_of(2, max_failures=0)
    for _ in range(3 * HOPELESS):
        attempt = queue.take()
        assert attempt is not None
        assert (attempt.lost, attempt.raised, attempt.avoid) == (0, 0, frozenset())
        assert queue.taken == 1
        assert queue.handed_back(attempt.pack.pack_id, None) is Next.AGAIN
        assert queue.taken == 0
    attempt = queue.take()
    assert attempt is not None
    assert queue.handed_back(attempt.pack.pack_id, frozenset()) is Next.OVER
    assert queue.is_over


def test_packs_that_wait_are_cut_anew_as_room_grows_and_those_that_failed_are_not() -> None:
    queue = queue_of(8, 8, 8, max_failures=3)
    failed = queue.take()
    assert failed is not None
    queue.lost(failed.pack.pack_id, "gone", None, progressed=False)
    asked: list[int] = []

    def quarters(runs: Sequence[PlannedRun]) -> list[Pack]:
        asked.append(len(runs))
        return [pack_of(runs[k::4], 2) for k in range(4)]

    assert queue.recut(quarters) == 2
    assert asked == [16]
    taken = [queue.take() for _ in range(5)]
    assert [len(attempt.pack.runs) for attempt in taken if attempt] == [8, 4, 4, 4, 4]
    assert {run.run_id for attempt in taken if attempt for run in attempt.pack.runs} == {
        run.run_id for run in RUNS[:24]
    }
    assert queue.recut(quarters) == 0, "nothing waits"


def test_fewer_or_equal_packs_are_no_reason_to_cut_anew() -> None:
    queue = queue_of(2, 2)
    assert queue.recut(lambda runs: [pack_of(runs, 2)]) == 0
    assert [len(attempt.pack.runs) for attempt in (queue.take(), queue.take()) if attempt] == [2, 2]


def test_a_pack_that_finds_no_room_elsewhere_may_go_anywhere() -> None:
    queue = queue_of(2, max_failures=3)
    attempt = queue.take()
    assert attempt is not None
    queue.lost(attempt.pack.pack_id, "gone", None, progressed=False, node="a")
    pinned = queue.take()
    assert pinned is not None
    assert pinned.avoid == {"a"}
    queue.abandoned(pinned.pack.pack_id)
    free = queue.take()
    assert free is not None
    assert (free.avoid, free.lost) == (frozenset(), 1)


def test_a_stalled_pack_goes_elsewhere_even_if_it_had_got_on() -> None:
    queue = queue_of(2, max_failures=3)
    attempt = queue.take()
    assert attempt is not None
    queue.lost(attempt.pack.pack_id, "no step", None, progressed=True, node="a", stalled=True)
    again = queue.take()
    assert again is not None
    assert (again.avoid, again.lost) == ({"a"}, 0)


def test_losses_are_not_hopeless_while_another_pack_gets_on() -> None:
    queue = queue_of(2, 2, max_failures=0)
    steady = queue.take()
    for _ in range(3 * HOPELESS):
        attempt = queue.take()
        assert attempt is not None
        queue.got_on("good")
        queue.lost(attempt.pack.pack_id, "gone", None, progressed=True)
    assert steady is not None
    assert not queue.given_up


def test_workers_that_do_not_come_up_are_tried_twice_each() -> None:
    queue = queue_of(8, workers=2)

    def dies(*, came_up: bool) -> Next:
        attempt = queue.take()
        assert attempt is not None
        return queue.lost(attempt.pack.pack_id, "no libnothing", None, progressed=False, came_up=came_up)

    assert [dies(came_up=False) for _ in range(3)] == [Next.AGAIN] * 3
    assert dies(came_up=False) is Next.GIVEN_UP
    assert queue.is_over
    assert queue.given_up[0].endswith("no libnothing")


def test_where_a_worker_has_come_up_those_that_die_at_their_start_were_killed() -> None:
    queue = queue_of(8, workers=1)
    queue.began()
    for _ in range(2 * STARTS):
        attempt = queue.take()
        assert attempt is not None
        assert queue.lost(attempt.pack.pack_id, "a warning", None, progressed=False, came_up=False) is not Next.GIVEN_UP
