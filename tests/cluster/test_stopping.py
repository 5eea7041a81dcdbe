"""A stop waits for the states of the packs under way, for a bounded time, and for nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

from grok_sweeps.cluster.pack_queue import PackQueue
from grok_sweeps.cluster.stop_after_states import StopAfterStates
from grok_sweeps.cluster.stop_request import StopRequest
from grok_sweeps.cluster.stopping import STATES_WAIT_S
from grok_sweeps.plan import Pack

WAITS = Pack("waits", (), 0.0, 1)


class CountedRequest(StopRequest):
    """A request that counts how often it was made."""

    times = 0

    def make(self) -> None:
        self.times += 1


@dataclass
class Case:
    """A driver with two packs under way and one that waits."""

    asked: bool = False
    now: float = 0.0
    under_way: set[str] = field(default_factory=lambda: {"one", "two"})
    request: CountedRequest = field(default_factory=lambda: CountedRequest("stop"))
    queue: PackQueue = field(default_factory=lambda: PackQueue([WAITS], 3))

    def __post_init__(self) -> None:
        self.stopper = StopAfterStates(
            lambda: self.asked, self.queue, self.request, lambda: self.under_way, lambda: self.now
        )

    def ends(self) -> bool:
        return self.stopper.stop_all()


def test_nothing_ends_until_a_stop_is_asked_for() -> None:
    case = Case()
    assert not case.ends()
    assert case.request.times == 0
    attempt = case.queue.take()
    assert attempt is not None
    assert attempt.pack == WAITS


def test_a_stop_is_told_once_and_waits_until_every_pack_has_reported() -> None:
    case = Case(asked=True)
    assert not case.ends()
    case.under_way.discard("one")
    assert not case.ends()
    assert case.request.times == 1
    assert case.queue.take() is None, "no pack is begun any more"
    case.under_way.discard("two")
    assert case.ends()


def test_a_pack_that_begins_after_the_stop_is_not_waited_for() -> None:
    case = Case(asked=True)
    assert not case.ends()
    case.under_way.clear()
    case.under_way.add("was about to begin")
    assert case.ends()


def test_a_worker_that_does_not_answer_is_waited_for_no_longer_than_the_bound() -> None:
    case = Case(asked=True)
    assert not case.ends()
    case.now = STATES_WAIT_S - 1
    assert not case.ends()
    case.now = STATES_WAIT_S
    assert case.ends()


def test_a_stop_with_nothing_under_way_ends_at_once() -> None:
    assert Case(asked=True, under_way=set()).ends()
