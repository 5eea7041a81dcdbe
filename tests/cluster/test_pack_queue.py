"""Which pack is tried next, and when one is given up."""

from __future__ import annotations

import pytest

from cluster.pack_queue import PackQueue


def taken(queue: PackQueue) -> list[str | None]:
    """What workers without end would take now."""
    packs: list[str | None] = []
    while (pack := queue.take()) is not None:
        packs.append(pack)
    return packs


def test_packs_are_taken_once_in_their_order_and_then_it_is_over() -> None:
    queue = PackQueue(["a", "b", "c"], max_failures=3)
    assert taken(queue) == ["a", "b", "c"]
    assert not queue.is_over, "any of them may come back"
    for pack in ("b", "a", "c"):
        queue.done(pack)
    assert queue.is_over
    assert not queue.given_up


def test_a_lost_pack_is_the_next_to_be_taken() -> None:
    queue = PackQueue(["a", "b"], max_failures=1)
    assert queue.take() == "a"
    assert queue.lost("a", "gone", progressed=False)
    assert taken(queue) == ["a", "b"]


@pytest.mark.parametrize("max_failures", [0, 1, 3])
def test_a_pack_is_given_up_after_failures_in_a_row_without_progress(max_failures: int) -> None:
    queue = PackQueue(["a"], max_failures)
    for _ in range(max_failures):
        assert queue.take() == "a"
        assert queue.lost("a", "gone", progressed=False)
    assert queue.take() == "a"
    assert not queue.lost("a", "gone for good", progressed=False)
    assert queue.is_over
    assert queue.given_up == {"a": "gone for good"}


def test_progress_makes_any_number_of_losses_bearable() -> None:
    queue = PackQueue(["a"], max_failures=1)
    for k in range(100):
        assert queue.take() == "a"
        assert queue.lost("a", "preempted", progressed=k % 2 == 0)
    queue.take()
    queue.done("a")
    assert queue.is_over
    assert not queue.given_up


def test_nothing_is_taken_after_the_queue_is_closed() -> None:
    queue = PackQueue(["a", "b"], max_failures=3)
    queue.take()
    queue.close()
    assert queue.take() is None
    queue.done("a")
    assert queue.is_over
