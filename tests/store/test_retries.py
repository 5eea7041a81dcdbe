"""Backoff on a clock of our own: what is waited for, how long, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from grok_sweeps.store.retries import Retries


class Clock:
    """Time that passes only while somebody sleeps, or in an attempt."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def retries(self, give_up_after_s: float = 100.0, jitter: float = 1.0) -> Retries:
        return Retries(give_up_after_s, 1.0, 8.0, self.sleep, lambda: self.now, lambda: jitter)


def failing(errors: Sequence[Exception], done: str = "done") -> Callable[[int], str]:
    """Attempts that fail one after the other, and then succeed."""

    def attempt(k: int) -> str:
        if k < len(errors):
            raise errors[k]
        return done

    return attempt


def passing(error: Exception) -> bool:
    return isinstance(error, TimeoutError)


def test_what_succeeds_at_once_waits_for_nothing() -> None:
    clock = Clock()
    assert clock.retries().call(failing([]), passing) == "done"
    assert clock.waits == []


def test_a_passing_fault_is_waited_out_ever_longer_up_to_a_limit() -> None:
    clock, told = Clock(), list[tuple[str, float]]()
    faults = [TimeoutError(str(k)) for k in range(6)]
    done = clock.retries().call(failing(faults), passing, lambda error, elapsed: told.append((str(error), elapsed)))
    assert done == "done"
    assert clock.waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert told == [("0", 0.0), ("1", 1.0), ("2", 3.0), ("3", 7.0), ("4", 15.0), ("5", 23.0)]


def test_jitter_takes_up_to_half_of_a_wait() -> None:
    clock = Clock()
    clock.retries(jitter=0.0).call(failing([TimeoutError()] * 3), passing)
    assert clock.waits == [0.5, 1.0, 2.0]


def test_a_refusal_is_raised_at_once() -> None:
    clock = Clock()
    with pytest.raises(PermissionError):
        clock.retries().call(failing([TimeoutError(), PermissionError()]), passing)
    assert clock.waits == [1.0]


def test_no_attempt_begins_after_the_bound_also_where_attempts_take_long() -> None:
    clock, begun = Clock(), list[float]()

    def hangs(_: int) -> str:
        begun.append(clock.now)
        clock.now += 30.0
        raise TimeoutError

    with pytest.raises(TimeoutError):
        clock.retries(give_up_after_s=100.0).call(hangs, passing)
    assert len(begun) == 4
    assert max(begun) <= 100.0
    assert clock.now <= 130.0
