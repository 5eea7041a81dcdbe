"""Steps as captured graphs: what is captured when, that values are taken anew, and what happens when it fails.

Capturing itself needs a GPU; here a capture is the work itself, which does the same to the same tensors.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from packs import CPU

from grok_sweeps.train.engine import Engine
from grok_sweeps.train.graph import MOST_STEPS, StepGraphs
from grok_sweeps.train.optimizers import StepValues


class Lane:
    """A number that every step moves by the rate of the step."""

    def __init__(self) -> None:
        self.x = torch.zeros(1, 1, dtype=torch.float64)
        self.calls = 0

    def train(self, values: StepValues) -> None:
        self.calls += 1
        for k in range(values.n_steps):
            self.x.add_(values.of_step(k).minus_rate)


class Recorder:
    """Captures like a graph: the tensors of the time of the capture are those that a replay reads."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.captured = self.replayed = 0
        self._error = error

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        if self._error is not None:
            raise self._error("operation not permitted when stream is capturing\nmore lines")
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


def values(*rates: float) -> StepValues:
    rate = torch.tensor(rates, dtype=torch.float64)[:, None, None]
    return StepValues(rate, rate.clone(), torch.zeros(len(rates), 1, 1, dtype=torch.bool))


def test_a_number_of_steps_is_captured_the_second_time_and_replayed_with_the_values_of_the_call() -> None:
    lane, capture = Lane(), Recorder()
    graphs = StepGraphs(capture)
    total = 0.0
    for n, rates in enumerate([(1.0, 2.0), (10.0, 20.0), (5.0,), (100.0, 200.0), (7.0,), (0.5, 0.25)]):
        graphs.train(values(*rates), lane.train)
        total += sum(rates)
        assert lane.x.item() == total, n
    assert (capture.captured, capture.replayed) == (2, 4)


def test_a_capture_that_fails_is_said_once_and_the_steps_are_done_all_the_same() -> None:
    lane, graphs = Lane(), StepGraphs(Recorder(RuntimeError))
    for _ in range(4):
        graphs.train(values(1.0), lane.train)
        graphs.train(values(1.0, 1.0), lane.train)
    assert lane.x.item() == 12
    assert graphs.failed == (
        "steps run without a CUDA graph, since capturing one fails: operation not permitted when stream is capturing"
    )


def test_too_little_memory_for_a_capture_is_the_packs_to_handle() -> None:
    lane, graphs = Lane(), StepGraphs(Recorder(torch.OutOfMemoryError))
    graphs.train(values(1.0), lane.train)
    with pytest.raises(torch.OutOfMemoryError):
        graphs.train(values(1.0), lane.train)


def test_a_long_way_to_the_next_reading_is_done_in_graphs_of_a_bounded_size() -> None:
    lane, capture = Lane(), Recorder()
    graphs = StepGraphs(capture)
    for _ in range(2):
        graphs.train(values(*[1.0] * (3 * MOST_STEPS + 5)), lane.train)
    assert lane.x.item() == 2 * (3 * MOST_STEPS + 5)
    assert (capture.captured, capture.replayed) == (2, 6)


@pytest.mark.parametrize(("name", "then"), [("graph", "eager"), ("fused", "fused")])
def test_an_engine_without_graphs_is_named_for_what_it_still_does(name: str, then: str) -> None:
    engine = Engine(name, torch.device("cuda"))
    assert engine.captures
    without = engine.without_graphs("because")
    assert (without.name, without.captures, without.note) == (then, False, "because")
    assert not Engine(name, CPU).captures
