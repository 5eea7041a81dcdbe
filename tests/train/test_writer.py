"""Writes beside training: in order, never more than a few waiting, and a failure reaches the one who writes next."""

from __future__ import annotations

import threading

import pytest

from grok_sweeps.errors import StoreError
from grok_sweeps.train.writer import MOST_WAITING, Writer

WAIT_S = 60


def test_writes_happen_in_order_while_the_caller_goes_on() -> None:
    gate, done, writer = threading.Event(), [], Writer()
    writer.submit(lambda: (gate.wait(WAIT_S), done.append(0))[1])
    writer.submit(lambda: done.append(1))
    assert done == [], "the caller did not wait"
    gate.set()
    writer.finish()
    assert done == [0, 1]


def test_a_writer_with_too_much_waiting_makes_its_caller_wait() -> None:
    gate, submitted, writer = threading.Event(), threading.Event(), Writer()
    for _ in range(MOST_WAITING):
        writer.submit(lambda: (gate.wait(WAIT_S), None)[1])

    def one_more() -> None:
        writer.submit(lambda: None)
        submitted.set()

    thread = threading.Thread(target=one_more)
    thread.start()
    assert not submitted.wait(0.2), "it waits as long as nothing is written"
    gate.set()
    assert submitted.wait(WAIT_S)
    thread.join()
    writer.finish()


def test_after_a_failure_nothing_more_is_written_and_the_next_call_says_why() -> None:
    def fail() -> None:
        raise StoreError("the disk is full")

    written: list[int] = []
    writer = Writer()
    writer.submit(fail)
    with pytest.raises(StoreError, match="the disk is full"):
        writer.finish()
    writer.submit(lambda: written.append(1))
    with pytest.raises(StoreError, match="the disk is full"):
        writer.finish()
    assert written == []
