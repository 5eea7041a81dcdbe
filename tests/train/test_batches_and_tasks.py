"""Mini-batches are a function of seed and step; tasks are what they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from packs import a_little, complete, rows, stack_of

from grok_sweeps.config import RunConfig
from grok_sweeps.store import SweepStore
from grok_sweeps.tasks import TASKS, n_pairs, pairs
from grok_sweeps.train.data import BatchOrder, train_rows
from grok_sweeps.train.pack import PackTrainer

Make = Callable[..., RunConfig]
P = 23

ANSWERS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: (a + b) % P,
    "sub": lambda a, b: (a - b) % P,
    "mul": lambda a, b: a * b % P,
    "div": lambda a, b: a * pow(b, -1, P) % P,
    "sum_of_squares": lambda a, b: (a**2 + b**2) % P,
}


@pytest.mark.parametrize("task", TASKS)
def test_a_task_answers_as_whole_numbers_do(task: str) -> None:
    found = pairs(task, P)
    expected = [(a, b) for a in range(P) for b in range(P) if task != "div" or b]
    assert list(zip(found.a.tolist(), found.b.tolist(), strict=True)) == expected
    assert found.target.tolist() == [ANSWERS[task](a, b) for a, b in expected]
    assert n_pairs(task, P) == len(expected)


@pytest.mark.parametrize("task", TASKS)
def test_a_network_learns_every_task(small_config: Make, task: str) -> None:
    stack = stack_of([small_config(task=task)])
    stack.advance(1)
    first = stack.read([0])[0]
    stack.advance(60)
    assert stack.read([0])[0]["train_loss"] < 0.7 * first["train_loss"]


def test_division_splits_the_pairs_that_it_has(small_config: Make) -> None:
    config = small_config(1, task="div")
    split = train_rows(config)
    assert len(split) == int(0.8 * P * (P - 1))
    assert int(split.max()) < P * (P - 1)


def test_an_epoch_sees_no_row_twice_and_the_next_has_another_order() -> None:
    train = torch.arange(100, 200)
    order = BatchOrder(seed=3, rows=train, batch_size=30)
    epochs = [[order.at(3 * epoch + k + 1) for k in range(3)] for epoch in range(4)]
    for batches in epochs:
        seen = torch.cat(batches)
        assert len(seen.unique()) == 90
        assert set(seen.tolist()) <= set(train.tolist())
    assert len({tuple(torch.cat(batches).tolist()) for batches in epochs}) == 4
    assert set(torch.cat([row for batches in epochs for row in batches]).tolist()) == set(train.tolist())


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    train = torch.arange(50)
    in_order = BatchOrder(7, train, 20)
    batches = [in_order.at(step) for step in range(1, 12)]
    for step in (11, 4, 8):
        assert torch.equal(BatchOrder(7, train, 20).at(step), batches[step - 1])
    assert not torch.equal(BatchOrder(8, train, 20).at(1), batches[0])


def test_the_whole_split_as_one_batch_is_the_full_gradient_in_another_order(small_config: Make) -> None:
    whole = small_config(dtype="float64")
    shuffled = small_config(dtype="float64", batch_size=whole.n_train)
    stacks = [stack_of([config]) for config in (whole, shuffled)]
    for stack in stacks:
        stack.advance(20)
    torch.testing.assert_close(stacks[0].state(0).weights, stacks[1].state(0).weights, rtol=1e-9, atol=1e-11)


def test_an_interrupted_mini_batch_run_goes_on_with_the_batches_it_would_have_seen(
    small_config: Make, trainer: Callable[..., PackTrainer], new_sweep: Callable[[str], SweepStore]
) -> None:
    configs = [small_config(seed, batch_size=128, max_steps=150, stop="budget") for seed in (0, 1)]
    whole, cut = new_sweep("whole"), new_sweep("cut")
    complete(trainer(configs, lanes=2, store=whole))
    first = trainer(configs, lanes=2, attempt="first", store=cut)
    while a_little(first).run_steps_under_way < 60:
        pass
    first.checkpoint()
    complete(trainer(configs, lanes=1, attempt="second", store=cut))
    expected, found = rows(whole), rows(cut)
    for config in configs:
        assert found[config.run_id]["final_state_sha256"] == expected[config.run_id]["final_state_sha256"]
