"""The pack loop: lanes retire and refill, and a run's numbers do not depend on any of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packs import a_little, complete, rows

import grok_sweeps.train.pack
from grok_sweeps.config import RunConfig
from grok_sweeps.errors import LeaseLostError, StoreError
from grok_sweeps.results import Store
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.store import SweepStore
from grok_sweeps.store.lease import LEASE_S, Lease, read_lease
from grok_sweeps.store.tables import FENCE_KEY, decode_table
from grok_sweeps.store.take_lease import take_lease
from grok_sweeps.train.pack import PackTrainer

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]
NewSweep = Callable[[str], SweepStore]


def test_a_run_has_the_same_numbers_alone_and_among_twelve_lanes_that_come_and_go(
    small_config: Make, trainer: Trainer, new_sweep: NewSweep
) -> None:
    others = [
        small_config(seed, tau=tau, arm="clamp", rho=rho, w_c=27.0, clamp_from_step=50)
        for seed, (tau, rho) in enumerate([(1.0, 0.9), (1.5, 1.0), (2.0, 1.0), (1.0, 1.0), (1.2, 0.8)] * 3)
    ]
    mine = small_config(7, tau=1.0, arm="clamp", rho=1.15, w_c=27.0, clamp_from_step=50)
    together, alone = new_sweep("together"), new_sweep("alone")
    complete(trainer([*others[:6], mine, *others[6:]], lanes=12, store=together))
    complete(trainer([mine], lanes=1, store=alone))

    found, row = rows(together), rows(alone)[mine.run_id]
    assert len(found) == 16
    assert row["outcome"] == "grokked"
    assert sum(r["steps_run"] < row["steps_run"] for r in found.values()) >= 4, "lanes retired around the run"
    for name in ("grokked_step", "memorized_step", "delay"):
        assert row[name] == found[mine.run_id][name]
    results = Store(together.objects)
    mine_together = results.curves("together", run_ids=[mine.run_id])
    mine_alone = results.curves("alone", run_ids=[mine.run_id])
    assert len(mine_alone) == row["grokked_step"] // 25 + 1
    np.testing.assert_array_equal(mine_together[["step", *READING_NAMES]], mine_alone[["step", *READING_NAMES]])


def test_waiting_runs_take_the_place_of_finished_ones_and_the_stack_shrinks(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    pack = trainer([small_config(seed) for seed in range(5)], lanes=2)
    seen = []
    while not pack.done:
        summary = pack.advance(0.0 if not seen else 0.02)
        seen.append((summary.lanes_active, summary.runs_waiting, summary.runs_finished))
    assert seen[0] == (2, 3, 0)
    assert seen[-1] == (0, 0, 5)
    assert all(active <= 2 and sum((active, waiting, done)) == 5 for active, waiting, done in seen)
    assert all(active == 2 for active, waiting, _ in seen if waiting)
    assert len(rows(sweep_store)) == 5


def test_a_diverging_lane_ends_as_diverged_and_leaves_its_neighbours_alone(
    small_config: Make, trainer: Trainer, new_sweep: NewSweep
) -> None:
    healthy, wild = small_config(1), small_config(1, lr=1e30)
    together, alone = new_sweep("together"), new_sweep("alone")
    complete(trainer([healthy, wild], lanes=2, store=together))
    complete(trainer([healthy], lanes=1, store=alone))
    found = rows(together)
    assert found[healthy.run_id]["final_state_sha256"] == rows(alone)[healthy.run_id]["final_state_sha256"]
    assert found[wild.run_id]["error"] == f"loss or weights are not finite at step {found[wild.run_id]['steps_run']}"
    assert found[wild.run_id]["outcome"] == "diverged"
    assert found[wild.run_id]["steps_run"] <= 25
    assert found[wild.run_id]["grokked_step"] is None
    assert found[healthy.run_id]["outcome"] == "grokked"


def test_a_resumed_pack_is_bit_identical_and_repeats_no_finished_run(
    small_config: Make, trainer: Trainer, new_sweep: NewSweep
) -> None:
    configs = [small_config(seed, tau=tau) for seed in (0, 1) for tau in (1.0, 1.4)]
    undisturbed, disturbed = new_sweep("undisturbed"), new_sweep("disturbed")
    complete(trainer(configs, lanes=2, store=undisturbed))

    first = trainer(configs, lanes=2, attempt="first", store=disturbed)
    while a_little(first).runs_finished < 2:
        pass
    first.checkpoint()
    states = {s.run_id: s.sha256() for s in first.lane_states()}
    assert len(states) == 2
    assert a_little(first).runs_finished == 2  # work after the checkpoint, lost with the worker

    second = trainer(configs, lanes=2, attempt="second", store=disturbed)
    assert {s.run_id: s.sha256() for s in second.lane_states()} == states
    complete(second)
    expected, found = rows(undisturbed), rows(disturbed)
    assert set(found) == set(expected) == {c.run_id for c in configs}
    assert {r["attempt"] for r in found.values()} == {"first", "second"}
    for run_id, row in found.items():
        assert row["final_state_sha256"] == expected[run_id]["final_state_sha256"]
        assert row["grokked_step"] == expected[run_id]["grokked_step"]
    results = Store(disturbed.objects)
    curves = [results.curves(sweep).drop(columns=["sweep", "attempt"]) for sweep in ("undisturbed", "disturbed")]
    assert len(curves[0]) > 40
    assert curves[0].equals(curves[1])


def test_a_resume_with_another_width_gives_the_same_steps(
    small_config: Make, trainer: Trainer, new_sweep: NewSweep
) -> None:
    configs = [small_config(seed) for seed in range(4)]
    undisturbed, resumed = new_sweep("undisturbed"), new_sweep("resumed")
    complete(trainer(configs, lanes=2, store=undisturbed))
    narrow = trainer(configs, lanes=1, pack_id="narrow", attempt="n", store=resumed)
    while max(state.step for state in narrow.lane_states()) == 0:
        a_little(narrow)
    narrow.checkpoint()
    wide = trainer(configs, lanes=4, pack_id="wide", attempt="w", store=resumed)
    assert max(s.step for s in wide.lane_states()) > 0, "goes on from the other pack's state"
    complete(wide)
    steps = [{run: row["grokked_step"] for run, row in rows(store).items()} for store in (undisturbed, resumed)]
    assert steps[0] == steps[1]


def test_only_the_newest_checkpoint_of_an_attempt_stays_and_none_when_it_is_done(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    pack = trainer([small_config(seed) for seed in range(2)], lanes=2, checkpoint_every_s=0.0)
    counts = set()
    while not a_little(pack).done:
        pack.checkpoint()  # waits for the writes under way
        counts.add(len(list(sweep_store.objects.list(sweep_store.layout.checkpoints))))
    assert counts == {1}
    assert not list(sweep_store.objects.list(sweep_store.layout.checkpoints))


def test_rows_and_states_tell_the_fence_they_were_written_under(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    fence = take_lease(sweep_store, {"host": "here"}).fence
    pack = trainer([small_config(0)], lanes=1, fence=fence)
    while pack.run_steps == 0:
        a_little(pack)
    pack.checkpoint()
    (checkpoint,) = sweep_store.objects.list(sweep_store.layout.checkpoints)
    file = sweep_store.objects.open(checkpoint.name)
    assert file is not None
    with file:
        file.seek(8)
        assert b'"fence":"%d"' % fence in file.read(2_000)
    complete(pack)
    for folder in (sweep_store.layout.rows, sweep_store.layout.curves):
        (info,) = sweep_store.objects.list(folder)
        data = sweep_store.objects.get(info.name)
        assert data is not None
        assert pq.read_metadata(pa.BufferReader(data)).metadata[FENCE_KEY] == b"%d" % fence
        assert FENCE_KEY not in (decode_table(data, info.name).schema.metadata or {})


def test_a_pack_that_writes_nothing_finds_out_all_the_same_that_its_driver_was_replaced(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    lease = take_lease(sweep_store, {"host": "here"})
    ticks = count(step=LEASE_S / 3)
    run = small_config(0, max_steps=10_000, stop="budget")
    pack = trainer([run], lanes=1, fence=lease.fence, clock=lambda: next(ticks))

    def go_on() -> None:
        pack.advance(10 * LEASE_S)
        pack.finish_writes()

    go_on()
    assert Lease(sweep_store, {"host": "there"}, lease.fence + 1).begin(read_lease(sweep_store))
    with pytest.raises(LeaseLostError):
        go_on()
    assert not list(sweep_store.objects.list(sweep_store.layout.checkpoints))


def test_a_stop_request_writes_the_states_before_the_call_returns(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    pack = trainer([small_config(0)], lanes=1)
    while pack.run_steps == 0:
        a_little(pack)
    pack.advance(60.0, stop=lambda: True)
    assert list(sweep_store.objects.list(sweep_store.layout.checkpoints))


def test_a_stop_that_comes_last_is_either_heeded_or_not_said(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    pack = trainer([small_config(0)], lanes=1)
    while pack.run_steps == 0:
        a_little(pack)
    answers = [False] * 3

    def stop() -> bool:
        return answers.pop() if answers else True

    while True:
        said = pack.advance(0.0, stop)
        states = list(sweep_store.objects.list(sweep_store.layout.checkpoints))
        assert bool(states) == said.stopped
        if said.stopped:
            break


def test_a_far_reading_keeps_nobody_waiting_and_changes_no_number(
    small_config: Make, trainer: Trainer, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [small_config(seed, eval_every=1000, max_steps=1000) for seed in range(2)]
    whole, cut = new_sweep("whole"), new_sweep("cut")
    complete(trainer(configs, lanes=2, store=whole))
    monkeypatch.setattr(grok_sweeps.train.pack, "AT_ONCE_S", 1e-3)
    pack = trainer(configs, lanes=2, store=cut)
    steps = []
    while not (summary := pack.advance(1e-3)).done:
        steps.append(summary.run_steps)
    between = [step for step in steps if 0 < step < 2000]
    assert between, "calls return on the way to the reading"
    assert pack.run_steps == 2000
    for run_id, row in rows(cut).items():
        assert row["final_state_sha256"] == rows(whole)[run_id]["final_state_sha256"]


@pytest.mark.parametrize("refused", ["everything", "rows"])
def test_runs_that_ended_and_whose_rows_are_not_written_are_not_done_and_count_as_lost(
    refused: str, small_config: Make, trainer: Trainer, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [small_config(seed, max_steps=50, stop="budget") for seed in range(2)]
    pack = trainer(configs, lanes=2)
    put = sweep_store.objects.put

    def full(name: str, data: bytes) -> None:
        if refused == "everything" or name.startswith(sweep_store.layout.rows):
            raise StoreError(f"{name}: no space left")
        put(name, data)

    monkeypatch.setattr(sweep_store.objects, "put", full)
    with pytest.raises(StoreError, match="no space left"):
        complete(pack)
    assert not pack.done
    assert not rows(sweep_store)
    with pytest.raises(StoreError, match="no space left"):
        pack.checkpoint()
    lost = {} if refused == "rows" else {config.run_id: 50 for config in configs}
    assert pack.unwritten() == lost, "a state that is kept loses nothing"


def test_a_run_that_ended_has_lost_only_what_came_after_its_last_state(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(max_steps=50, stop="budget")
    pack = trainer([config], lanes=1)
    monkeypatch.setattr(grok_sweeps.train.pack, "FIRST_STEPS", 10)
    while not pack.run_steps:
        a_little(pack)
    pack.checkpoint()
    (state,) = pack.lane_states()
    assert 0 < state.step < 50

    def full(name: str, data: bytes) -> None:
        raise StoreError(f"{name}: no space left")

    monkeypatch.setattr(sweep_store.objects, "put", full)
    with pytest.raises(StoreError, match="no space left"):
        complete(pack)
    assert pack.unwritten() == {config.run_id: 50 - state.step}
