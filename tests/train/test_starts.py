"""Where a run starts: from its own state, past its old budget, or from its parent's state at a fork."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from packs import a_little, complete, rows, stack_of, work_of

from grok_sweeps.config import RunConfig
from grok_sweeps.errors import NewerSchemaError, UnreadableObjectWarning
from grok_sweeps.results import Store
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.store import SweepStore
from grok_sweeps.store.checkpoints import keep_state, kept_state, kept_steps
from grok_sweeps.train.lanes import STATE_TENSORS
from grok_sweeps.train.network import network_of
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import RunWork

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]
NewSweep = Callable[[str], SweepStore]


def parent_of(child: RunConfig, at_step: int) -> RunConfig:
    return child.control().prefix(at_step)


def forked(child: RunConfig, at_step: int) -> tuple[RunWork, RunWork]:
    """A parent and its fork, as their workers get them."""
    parent = parent_of(child, at_step)
    config = replace(child, fork_cell=parent.cell_id, fork_step=at_step)
    return work_of(parent, is_parent=True), work_of(config, fork_of=parent.run_id)


def curve(store: SweepStore, run_id: str) -> Any:
    return Store(store.objects).curves(store.sweep, run_ids=[run_id])[["step", *READING_NAMES]]


class TestExtension:
    def test_a_censored_run_goes_on_from_its_final_state_as_if_it_had_never_stopped(
        self, small_config: Make, trainer: Trainer, new_sweep: NewSweep
    ) -> None:
        config = small_config(max_steps=100)
        cut, whole = new_sweep("cut"), new_sweep("whole")
        complete(trainer([config], lanes=1, store=cut))
        assert rows(cut)[config.run_id]["outcome"] == "censored"
        assert kept_steps(cut) == {config.run_id: {100}}

        longer = work_of(config, horizon_steps=1000)
        again = trainer([longer], lanes=1, attempt="b", store=cut)
        assert again.lane_states()[0].step == 100, "no step is repeated"
        complete(again)
        complete(trainer([longer], lanes=1, store=whole))
        row, expected = rows(cut)[config.run_id], rows(whole)[config.run_id]
        assert row["outcome"] == "grokked"
        for name in ("grokked_step", "steps_run", "final_state_sha256", "memorized_step", "grad_norm_at_grok"):
            assert row[name] == expected[name]
        assert curve(cut, config.run_id).equals(curve(whole, config.run_id))
        assert kept_steps(cut) == {}, "the shorter run's state has done its work"

    def test_a_run_that_stays_censored_keeps_its_longer_state_and_can_be_extended_again(
        self, small_config: Make, trainer: Trainer, sweep_store: SweepStore
    ) -> None:
        config = small_config(max_steps=50)
        for horizon in (50, 75, 100):
            complete(trainer([work_of(config, horizon_steps=horizon)], lanes=1, attempt=f"a{horizon}"))
            row = rows(sweep_store)[config.run_id]
            assert (row["outcome"], row["steps_run"], row["max_steps"]) == ("censored", horizon, 50)
            assert kept_steps(sweep_store) == {config.run_id: {horizon}}

    def test_a_settled_run_is_left_alone(self, small_config: Make, trainer: Trainer, sweep_store: SweepStore) -> None:
        config = small_config(max_steps=50)
        complete(trainer([config], lanes=1))
        assert trainer([config], lanes=1, attempt="b").done
        grokked = small_config(1)
        complete(trainer([grokked], lanes=1))
        assert trainer([work_of(grokked, horizon_steps=9000)], lanes=1, attempt="b").done

    def test_a_worker_killed_between_final_state_and_row_leaves_only_the_row_to_write(
        self, small_config: Make, trainer: Trainer, new_sweep: NewSweep
    ) -> None:
        config = small_config(max_steps=100)
        whole, killed = new_sweep("whole"), new_sweep("killed")
        complete(trainer([config], lanes=1, store=whole))
        state = kept_state(whole, config.run_id, 100)
        assert state is not None
        keep_state(killed, state)
        late = trainer([config], lanes=1, attempt="late", store=killed)
        assert late.lane_states() == []
        summary = late.advance(0.1)
        assert (summary.done, summary.run_steps) == (True, 0)
        row, expected = rows(killed)[config.run_id], rows(whole)[config.run_id]
        assert row["final_state_sha256"] == expected["final_state_sha256"]
        assert (row["outcome"], row["steps_run"]) == ("censored", 100)


class TestForks:
    def test_the_free_arm_is_the_parent_going_on_bit_for_bit(
        self, small_config: Make, trainer: Trainer, sweep_store: SweepStore
    ) -> None:
        free = small_config(max_steps=200, stop="budget")
        parent, fork = forked(free, 60)
        complete(trainer([parent], lanes=1))
        pack = trainer([fork], lanes=1, pack_id="fork")
        uninterrupted = stack_of([free])
        uninterrupted.advance(60)
        (at_fork,) = pack.lane_states()
        for name in STATE_TENSORS:
            assert np.array_equal(at_fork.tensors[name], getattr(uninterrupted.state(0), name).numpy()), name
        pack._stack.advance(1)  # type: ignore[union-attr]
        uninterrupted.advance(1)
        first = pack._stack.state(0)  # type: ignore[union-attr]
        for name in STATE_TENSORS:
            assert torch.equal(getattr(first, name), getattr(uninterrupted.state(0), name)), f"{name}: first step"

        complete(trainer([fork], lanes=1, pack_id="again", attempt="b"))
        uninterrupted.advance(200 - 61)
        state = kept_state(sweep_store, fork.run_id, 200)
        assert state is not None
        assert np.array_equal(state.tensors["weights"], uninterrupted.state(0).weights.numpy())

    @pytest.mark.parametrize("rho", [0.87, 1.0, 1.15])
    def test_a_held_arm_has_its_norm_at_the_fork_itself_and_after_every_step(
        self, small_config: Make, trainer: Trainer, sweep_store: SweepStore, rho: float
    ) -> None:
        child = small_config(2, arm="fork", rho=rho, max_steps=120)
        parent, fork = forked(child, 60)
        complete(trainer([parent], lanes=1))
        parent_row = rows(sweep_store)[parent.run_id]
        pack = trainer([fork], lanes=1, pack_id="fork")
        n = network_of(child).layout.n_weights
        for _ in range(5):
            (state,) = pack.lane_states()
            norm = np.linalg.norm(state.tensors["weights"][:n].astype(float))
            assert norm == pytest.approx(rho * parent_norm(sweep_store, parent, n), rel=1e-6)
            pack._stack.advance(1)  # type: ignore[union-attr]
        complete(trainer([fork], lanes=1, pack_id="again", attempt="b"))
        row = rows(sweep_store)[fork.run_id]
        assert row["fork_of"] == parent.run_id
        assert row["fork_step"] == 60
        assert row["fork_norm"] == pytest.approx(parent_norm(sweep_store, parent, n))
        assert row["held_norm"] == pytest.approx(rho * row["fork_norm"])
        assert row["fork_state_sha256"] == parent_row["final_state_sha256"]
        assert curve(sweep_store, fork.run_id).step.min() == 75

    def test_a_fork_remembers_when_its_parent_memorised_and_counts_its_delay_from_the_fork(
        self, small_config: Make, trainer: Trainer, sweep_store: SweepStore
    ) -> None:
        parent, fork = forked(small_config(), 150)
        complete(trainer([parent], lanes=1))
        complete(trainer([fork], lanes=1, pack_id="fork"))
        found = rows(sweep_store)
        before, after = found[parent.run_id], found[fork.run_id]
        assert (before["outcome"], before["steps_run"]) == ("censored", 150)
        assert before["memorized_step"] is not None
        assert after["memorized_step"] == before["memorized_step"]
        assert after["outcome"] == "grokked"
        assert after["delay"] == after["grokked_step"] - 150

    def test_an_interrupted_fork_goes_on_bit_for_bit(
        self, small_config: Make, trainer: Trainer, new_sweep: NewSweep
    ) -> None:
        child = small_config(1, arm="fork", rho=1.05, max_steps=200, stop="budget")
        parent, fork = forked(child, 60)
        whole, cut = new_sweep("whole"), new_sweep("cut")
        for store in (whole, cut):
            complete(trainer([parent], lanes=1, store=store))
        complete(trainer([fork], lanes=1, pack_id="fork", store=whole))
        first = trainer([fork], lanes=1, pack_id="fork", attempt="first", store=cut)
        while first.lane_states()[0].step < 100:
            a_little(first)
        first.checkpoint()
        second = trainer([fork], lanes=1, pack_id="other", attempt="second", store=cut)
        assert second.lane_states()[0].step >= 100
        complete(second)
        ours, expected = rows(cut)[fork.run_id], rows(whole)[fork.run_id]
        for name in ("final_state_sha256", "fork_norm", "fork_state_sha256", "held_norm", "grokked_step"):
            assert ours[name] == expected[name]

    @pytest.mark.parametrize("loss", ["missing", "one bit", "64 bytes of its header", "cut off", "empty"])
    def test_a_lost_parents_state_concerns_its_forks_alone_and_the_parent_is_trained_again(
        self, small_config: Make, trainer: Trainer, new_sweep: NewSweep, loss: str
    ) -> None:
        works = [forked(small_config(seed, arm="fork", rho=1.0), 60) for seed in (0, 1)]
        parents, forks = [parent for parent, _ in works], [fork for _, fork in works]
        other = work_of(small_config(2, max_steps=75))
        whole, hurt = new_sweep("whole"), new_sweep("hurt")
        for store in (whole, hurt):
            complete(trainer(parents, lanes=2, store=store))
        complete(trainer(forks, lanes=1, pack_id="forks", store=whole))
        damage(hurt, hurt.layout.state(parents[0].run_id, 60), loss)

        pack = trainer([*forks, other], lanes=2, pack_id="forks", store=hurt)
        complete(pack)
        assert set(rows(hurt)) == {parents[0].run_id, parents[1].run_id, forks[1].run_id, other.run_id}
        (note,) = pack.notes
        assert f"states/{parents[0].run_id}@60.safetensors" in note
        assert f"run {parents[0].run_id} is trained again" in note
        assert kept_steps(hurt).keys() == {parents[1].run_id, other.run_id}, "the parent counts as one to train again"

        complete(trainer(parents, lanes=2, attempt="again", store=hurt))
        complete(trainer([*forks, other], lanes=2, pack_id="forks", attempt="again", store=hurt))
        found, expected = rows(hurt), rows(whole)
        for run in (*parents, *forks):
            for name in ("final_state_sha256", "fork_state_sha256", "grokked_step"):
                assert found[run.run_id][name] == expected[run.run_id][name]

    def test_forks_of_one_damaged_parent_say_the_same_once(
        self, small_config: Make, trainer: Trainer, sweep_store: SweepStore
    ) -> None:
        works = [forked(small_config(0, arm="fork", rho=rho), 60) for rho in (0.9, 1.0, 1.1)]
        parent, forks = works[0][0], [fork for _, fork in works]
        assert {fork.fork_of for fork in forks} == {parent.run_id}
        complete(trainer([parent], lanes=1))
        damage(sweep_store, sweep_store.layout.state(parent.run_id, 60), "one bit")
        pack = trainer(forks, lanes=3, pack_id="forks")
        assert pack.done
        (note,) = pack.notes
        assert "missing" not in note
        assert f"run {parent.run_id} is trained again" in note

    def test_a_parents_state_of_a_newer_version_is_neither_deleted_nor_made_again(
        self, small_config: Make, trainer: Trainer, sweep_store: SweepStore
    ) -> None:
        parent, fork = forked(small_config(), 60)
        complete(trainer([parent], lanes=1))
        name = sweep_store.layout.state(parent.run_id, 60)
        data = sweep_store.objects.get(name)
        assert data is not None
        newer = data.replace(b'"schema":"1"', b'"schema":"9"')
        assert newer != data
        sweep_store.objects.put(name, newer)
        with pytest.raises(NewerSchemaError, match="upgrade grok-sweeps"):
            trainer([fork], lanes=1, pack_id="fork")
        assert sweep_store.objects.get(name) == newer

    @pytest.mark.parametrize("loss", ["missing", "one bit", "cut off"])
    def test_a_lost_state_in_another_sweep_only_costs_the_steps_to_the_fork(
        self, small_config: Make, trainer: Trainer, new_sweep: NewSweep, loss: str
    ) -> None:
        old, new = new_sweep("old"), new_sweep("new")
        original = small_config(max_steps=60)
        complete(trainer([original], lanes=1, store=old))
        damage(old, old.layout.state(original.run_id, 60), loss)
        left = {info.name for info in old.objects.list(old.layout.states)}
        parent = work_of(original.prefix(60), is_parent=True, origin=f"old/{original.run_id}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreadableObjectWarning)
            pack = trainer([parent], lanes=1, store=new)
        assert pack.lane_states()[0].step == 0
        complete(pack)
        assert rows(new)[parent.run_id]["final_state_sha256"] == rows(old)[original.run_id]["final_state_sha256"]
        assert {info.name for info in old.objects.list(old.layout.states)} == left, "the other sweep is left as it was"

    def test_a_parent_whose_state_is_gone_is_trained_again_although_it_has_its_row(
        self, small_config: Make, trainer: Trainer, sweep_store: SweepStore
    ) -> None:
        parent, _ = forked(small_config(), 60)
        complete(trainer([parent], lanes=1))
        assert trainer([parent], lanes=1, attempt="b").done
        before = sweep_store.objects.get(sweep_store.layout.state(parent.run_id, 60))
        sweep_store.objects.delete(sweep_store.layout.state(parent.run_id, 60))
        complete(trainer([parent], lanes=1, attempt="c"))
        assert kept_steps(sweep_store) == {parent.run_id: {60}}
        assert before is not None
        assert len(rows(sweep_store)) == 1

    def test_a_parent_of_another_sweep_goes_on_from_the_newest_state_there(
        self, small_config: Make, trainer: Trainer, new_sweep: NewSweep
    ) -> None:
        old, new = new_sweep("old"), new_sweep("new")
        original = small_config(max_steps=80)
        complete(trainer([original], lanes=1, store=old))
        reference = f"old/{original.run_id}"
        later = work_of(original.prefix(120), is_parent=True, origin=reference)
        pack = trainer([later], lanes=1, store=new)
        assert pack.lane_states()[0].step == 80
        complete(pack)
        direct = stack_of([original])
        direct.advance(120)
        state = kept_state(new, later.run_id, 120)
        assert state is not None
        assert np.array_equal(state.tensors["weights"], direct.state(0).weights.numpy())
        earlier = work_of(original.prefix(40), is_parent=True, origin=reference)
        assert trainer([earlier], lanes=1, pack_id="earlier", store=new).lane_states()[0].step == 0
        same = work_of(original.prefix(80), is_parent=True, origin=reference)
        pack = trainer([same], lanes=1, pack_id="same", store=new)
        assert pack.advance(0.1).run_steps == 0, "the very state is there: nothing to train"
        assert kept_steps(new)[same.run_id] == {80}


def damage(store: SweepStore, name: str, loss: str) -> None:
    data = store.objects.get(name)
    assert data is not None
    middle = len(data) // 2
    if loss == "missing":
        store.objects.delete(name)
        return
    damaged = {
        "one bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "64 bytes of its header": data[:100] + bytes(byte ^ 0xFF for byte in data[100:164]) + data[164:],
        "cut off": data[:middle],
        "empty": b"",
    }
    store.objects.put(name, damaged[loss])


def parent_norm(store: SweepStore, parent: RunWork, n: int) -> float:
    state = kept_state(store, parent.run_id, parent.horizon_steps)
    assert state is not None
    return float(np.linalg.norm(state.tensors["weights"][:n].astype(float)))


@pytest.mark.parametrize("arch", ["transformer_no_layernorm", "transformer"])
def test_a_transformer_memorises_and_its_lanes_leave_each_other_alone(small_config: Make, arch: str) -> None:
    sizes = {"arch": arch, "heads": 2, "p": 11, "d_model": 32, "hidden": 64, "lr": 3e-3, "weight_decay": 0.1}
    configs = [small_config(seed, tau=tau, **sizes) for seed, tau in enumerate((1.0, 1.5, 0.7))]
    together, alone = stack_of(configs), stack_of(configs[1:2])
    together.advance(150)
    alone.advance(150)
    assert torch.equal(alone.state(0).weights, together.state(1).weights)
    assert alone.read([0])[0]["train_accuracy"] > 0.99
