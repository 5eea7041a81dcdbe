"""Width by memory: what is measured, what follows from it, and a device that runs out of it all the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from packs import CPU, a_little, complete, rows

from grok_sweeps.config import RunConfig
from grok_sweeps.store import SweepStore
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.train import pack as packs
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.lanes import LaneStack
from grok_sweeps.train.memory import LaneMemory, measure_lane, most_lanes, shared_meter
from grok_sweeps.train.pack import PackTrainer
from tests.counted_requests import CountedRequests

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]


class Meter:
    """Two lanes take 2 x `training` and 2 x `reading` bytes of a device that has `free`."""

    def __init__(self, free: int, training: int, reading: int) -> None:
        self._free, self._peaks = free, [2 * training, 2 * reading]
        self.measured = 0

    def free_bytes(self) -> int:
        return self._free

    def peak_bytes(self, work: Callable[[], object]) -> int:
        work()
        self.measured += 1
        return self._peaks.pop(0)


def test_a_lanes_memory_is_measured_once_and_narrows_the_stack_with_a_line_that_says_so(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    meter = Meter(free=10_000_000, training=2_000_000, reading=500_000)
    pack = trainer([small_config(seed) for seed in range(5)], lanes=5, meter=meter)
    assert pack.notes == ["3 lanes instead of 5: a lane takes 2.5 MB on cpu, 10 MB are free"]
    assert pack.advance(0.0).lanes_active == 3
    complete(pack)
    assert meter.measured == 2
    found = rows(sweep_store).values()
    assert len(found) == 5
    assert {row["lane_bytes"] for row in found} == {2_500_000}


def test_a_width_that_fits_is_left_alone(small_config: Make, trainer: Trainer) -> None:
    pack = trainer([small_config(0), small_config(1)], lanes=2, meter=Meter(10**9, 10**6, 10**6))
    assert pack.notes == []
    assert pack.advance(0.0).lanes_active == 2


@pytest.mark.parametrize(
    ("training", "reading", "at_once", "usable", "lanes"),
    [
        (10, 5, 8, 90, 6),  # all are read at once
        (10, 5, 8, 120, 8),
        (10, 5, 8, 240, 20),  # 8 of them at once
        (10, 0, 8, 95, 9),
        (10, 5, 8, 7, 1),
    ],
)
def test_the_width_follows_from_training_and_reading(
    training: int, reading: int, at_once: int, usable: int, lanes: int
) -> None:
    memory = LaneMemory(training, reading, at_once)
    assert memory.lanes_in(usable) == lanes
    taken = lanes * training + min(lanes, at_once) * reading
    assert taken <= usable or lanes == 1


def test_what_is_measured_is_training_and_then_reading(small_config: Make) -> None:
    meter = Meter(10**6, 1000, 300)
    memory = measure_lane(small_config(0), choose_engine("eager", CPU), meter)
    assert (memory.training_bytes, memory.reading_bytes) == (1000, 300)
    assert memory.lanes_a_reading >= 1
    assert most_lanes(memory, meter) > 500


def test_a_pack_that_runs_out_of_memory_goes_on_with_half_the_lanes_and_the_same_numbers(
    small_config: Make, trainer: Trainer, new_sweep: Callable[[str], SweepStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [small_config(seed) for seed in range(6)]
    plenty, scarce = new_sweep("plenty"), new_sweep("scarce")
    complete(trainer(configs, lanes=4, store=plenty))

    class Small(LaneStack):
        """A device with memory for two lanes, which it only finds out in the middle."""

        done = 0

        def advance(self, n_steps: int) -> None:
            Small.done += n_steps
            if Small.done > 60 and self.n_lanes > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            super().advance(n_steps)

    monkeypatch.setattr(packs, "LaneStack", Small)
    alive: list[weakref.ref[LaneStack]] = []
    make = Small.__init__

    def made(stack: LaneStack, *arguments: Any) -> None:
        assert not any(ref() for ref in alive), "the memory of the old lanes is free when the new ones are made"
        make(stack, *arguments)
        alive.append(weakref.ref(stack))

    monkeypatch.setattr(Small, "__init__", made)
    pack = trainer(configs, lanes=4, store=scarce, checkpoint_every_s=0.0)
    complete(pack)
    assert pack.notes == ["out of memory on cpu: goes on with 2 lanes"]
    steps: list[dict[str, Any]] = [
        {run: (row["memorized_step"], row["grokked_step"], row["final_state_sha256"]) for run, row in rows(s).items()}
        for s in (plenty, scarce)
    ]
    assert steps[0] == steps[1]
    StateIndex(scarce).delete_finished({run: row["steps_run"] for run, row in rows(scarce).items()})
    assert not list(scarce.objects.list(scarce.layout.checkpoints))


def test_the_states_of_lanes_that_no_longer_fit_are_kept(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [small_config(seed) for seed in range(4)]
    pack = trainer(configs, lanes=4)
    while pack.run_steps < 4 * 50:
        a_little(pack)
    pack.checkpoint()
    advance = LaneStack.advance

    def scarce(stack: LaneStack, n_steps: int) -> None:
        if stack.n_lanes > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        advance(stack, n_steps)

    monkeypatch.setattr(LaneStack, "advance", scarce)
    a_little(pack)
    pack.checkpoint()
    assert pack.notes == ["out of memory on cpu: goes on with 2 lanes"]
    found = StateIndex(sweep_store).load_newest([config.run_id for config in configs])
    assert {state.step >= 50 for state in found.values()} == {True}
    assert len(found) == 4


def test_half_the_lanes_go_on_from_the_states_that_the_pack_has_written_without_a_search(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [small_config(seed) for seed in range(4)]
    waits = small_config(4)
    objects = CountedRequests(sweep_store.objects)
    pack = trainer([*configs, waits], lanes=4, store=SweepStore(objects, sweep_store.sweep))
    while pack.run_steps < 4 * 50:
        a_little(pack)
    pack.checkpoint()
    written = {state.run_id: state.sha256() for state in pack.lane_states()}
    advance, most = LaneStack.advance, 2

    def scarce(stack: LaneStack, n_steps: int) -> None:
        if stack.n_lanes > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        advance(stack, n_steps)

    monkeypatch.setattr(LaneStack, "advance", scarce)
    objects.requests.clear()
    for most, n_waiting in ((2, 3), (1, 4)):
        pack._halve()
        going_on = {state.run_id: state.sha256() for state in pack.lane_states()}
        assert len(going_on) == most
        assert going_on.items() <= written.items()
        assert pack.advance(0.0).runs_waiting == n_waiting
    assert {operation for operation, _ in objects.requests} == {"read"}
    complete(pack)
    assert rows(sweep_store).keys() == {config.run_id for config in (*configs, waits)}


def test_a_device_without_memory_for_two_lanes_trains_one(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    class Full(Meter):
        def peak_bytes(self, work: Callable[[], object]) -> int:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    pack = trainer([small_config(0), small_config(1)], lanes=2, meter=Full(1, 1, 1))
    assert pack.notes == ["one lane: cpu has no memory for two"]
    complete(pack)
    assert {row["lanes"] for row in rows(sweep_store).values()} == {1}


def test_one_lane_that_does_not_fit_ends_the_pack(
    small_config: Make, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(stack: LaneStack, n_steps: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(LaneStack, "advance", full)
    with pytest.raises(torch.OutOfMemoryError):
        trainer([small_config(0)], lanes=1).advance(1.0)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_process_with_a_share_of_a_gpu_has_that_share_of_its_memory(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch._C, "_cuda_setMemoryFraction", lambda *given: limits.append(given), raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (60, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 10)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 5)
    meter = shared_meter(torch.device(device), 0.5)
    assert meter is not None
    assert limits == [(0.5, 1 if device == "cuda:1" else 0)]
    assert meter.free_bytes() == 35, "half of 80 less what it has"
    assert shared_meter(torch.device(device), 1.0) is None
    assert shared_meter(torch.device("cpu"), 0.5) is None
    assert len(limits) == 1
