"""Rows and readings reach the store while a pack trains, soon, and each once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from grok_sweeps.config import RunConfig
from grok_sweeps.results import Store
from grok_sweeps.store import SweepStore
from grok_sweeps.store.segments import standing
from grok_sweeps.store.tables import decode_table
from grok_sweeps.train.pack import PackTrainer
from tests.train.packs import a_little, rows

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]


class Clock:
    """Seconds that pass at each look."""

    def __init__(self, step: float) -> None:
        self.now, self._step = 0.0, step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def steps_in_store(store: SweepStore, run_id: str) -> list[int]:
    """The steps of a run's readings in the files that count."""
    names = [info.name for info in standing(store.objects.list(store.layout.curves))]
    tables = [decode_table(store.objects.get(name) or b"", name) for name in names]
    return sorted(row["step"] for table in tables for row in table.to_pylist() if row["run_id"] == run_id)


def test_readings_of_a_run_under_way_are_in_the_store_within_30_s(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    config = small_config(0, max_steps=2_000, stop="budget")
    clock = Clock(0.3)
    pack = trainer([config], lanes=1, clock=clock)
    read_at: dict[int, float] = {}
    most_files = 0
    while pack.run_steps < 1_500:
        pack.advance(0.5)
        pack.finish_writes()
        record = pack.record_of(config.run_id)
        assert record is not None
        read_at |= {step: clock.now for step in record.steps if step not in read_at}
        found = steps_in_store(sweep_store, config.run_id)
        assert found == record.steps[: len(found)], "each once"
        assert all(clock.now - read_at[step] <= 30 for step in record.steps[len(found) :])
        most_files = max(most_files, len(list(sweep_store.objects.list(sweep_store.layout.curves))))
    assert 2 <= most_files <= 12
    while not pack.advance(60.0).done:
        pass
    assert steps_in_store(sweep_store, config.run_id) == Store(sweep_store.objects).curves().step.tolist()
    assert len(list(sweep_store.objects.list(sweep_store.layout.rows))) == 1


def test_the_curve_of_an_interrupted_run_is_that_of_its_last_attempt_and_whole(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    config = small_config(0, max_steps=400, stop="budget")
    killed = trainer([config], lanes=1, clock=Clock(2.0), checkpoint_every_s=20.0)
    while killed.run_steps < 200:
        killed.advance(3.0)
    killed.finish_writes()
    begun = steps_in_store(sweep_store, config.run_id)
    again = trainer([config], lanes=1, attempt="b", clock=Clock(2.0))
    resumed_at = [lane.steps[-1] for lane in [again.record_of(config.run_id)] if lane and lane.steps]
    while not again.advance(60.0).done:
        pass
    assert begun
    assert resumed_at
    curve = Store(sweep_store.objects).curves()
    assert curve.step.tolist() == [1, *range(25, 401, 25)]
    assert set(curve.attempt) == {"b"} == {row["attempt"] for row in rows(sweep_store).values()}


@pytest.mark.parametrize("when", ["stopped", "a checkpoint"])
def test_the_row_of_a_finished_run_does_not_wait_for_its_time(
    when: str, small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    """Once a checkpoint without it, or nothing, follows."""
    short, long = small_config(0, max_steps=50, stop="budget"), small_config(1, max_steps=5_000, stop="budget")
    pack = trainer([short, long], lanes=2, clock=Clock(1e-6))
    while pack.record_of(short.run_id) is not None:
        a_little(pack)
    assert not rows(sweep_store)
    if when == "stopped":
        pack.advance(1.0, stop=lambda: True)
    else:
        pack.checkpoint()
    assert set(rows(sweep_store)) == {short.run_id}
