"""A run's numbers depend on its own config alone: bit for bit the same alone, among others, at other steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from packs import stack_of

from grok_sweeps.config import RunConfig
from grok_sweeps.train.lanes import STATE_TENSORS, LaneStack

Make = Callable[..., RunConfig]

TINY: dict[str, Any] = {"p": 11, "d_model": 16, "hidden": 32, "lr": 3e-3}
SHARED: dict[str, dict[str, Any]] = {
    "ce": {},
    "mse": {"loss": "mse"},
    "stablemax": {"normalizer": "stablemax"},
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd"},
    "orthogonal": {"gradient_projection": "orthogonal"},
    "mini-batches": {"batch_size": 40},
    "division": {"task": "div"},
    "transformer": {"arch": "transformer", "heads": 2, **TINY},
    "transformer_no_layernorm": {"arch": "transformer_no_layernorm", "heads": 2, **TINY},
}
"""What all lanes of a stack have in common."""


def lanes_of(small_config: Make, shared: dict[str, Any]) -> list[RunConfig]:
    """Lanes that differ in everything in which lanes of one stack may."""
    own: list[dict[str, Any]] = [
        {},
        {"tau": 1.5, "label_smoothing": 0.1, "lr": 0.002},
        {"logit_penalty": 0.01, "weight_decay": 0.3},
        {"tau": 0.7, "gradient_compensation": True, "arm": "clamp", "rho": 1.1, "w_c": 20.0, "clamp_from_step": 10},
    ]
    configs = [replace(small_config(seed, **shared), **changes) for seed, changes in enumerate(own)]
    if shared.get("optimizer") == "sgd":
        configs = [replace(c, momentum=0.3 * k) for k, c in enumerate(configs)]
    return configs


def assert_same_lane(one: LaneStack, lane: int, other: LaneStack, other_lane: int) -> None:
    for name in STATE_TENSORS:
        ours, theirs = getattr(one.state(lane), name), getattr(other.state(other_lane), name)
        assert torch.equal(ours, theirs), name
    read = pytest.approx(one.read([lane])[0], rel=0, abs=0, nan_ok=True)
    assert other.read([other_lane])[0] == read


@pytest.mark.parametrize("shared", SHARED.values(), ids=SHARED.keys())
def test_a_lane_is_the_same_alone_and_among_lanes_that_differ_in_everything(
    small_config: Make, shared: dict[str, Any]
) -> None:
    configs = lanes_of(small_config, shared)
    together = stack_of(configs)
    together.advance(40)
    for lane, config in enumerate(configs):
        alone = stack_of([config])
        alone.advance(40)
        assert_same_lane(alone, 0, together, lane)


@pytest.mark.parametrize("shared", [{}, {"batch_size": 40}, {"optimizer": "sgd", "momentum": 0.5}])
def test_lanes_at_different_steps_of_their_training_go_on_as_they_would_alone(
    small_config: Make, shared: dict[str, Any]
) -> None:
    configs = [
        small_config(0, **shared),
        small_config(1, arm="clamp", rho=1.0, w_c=20.0, clamp_from_step=35, **shared),
        small_config(2, lr=0.002, **shared),
    ]
    begun = (0, 10, 33)
    early = [stack_of([config]) for config in configs]
    for stack, steps in zip(early, begun, strict=True):
        stack.advance(steps)
    together = stack_of(configs, [stack.state(0) for stack in early])
    assert together.steps == list(begun)
    together.advance(15)
    together.advance(15)
    for lane, (config, steps) in enumerate(zip(configs, begun, strict=True)):
        alone = stack_of([config])
        alone.advance(steps + 30)
        assert_same_lane(alone, 0, together, lane)


@pytest.mark.parametrize("arch", ["transformer_no_layernorm", "transformer"])
def test_the_papers_transformer_trains_bit_for_bit_the_same_alone_and_among_six_lanes(arch: str) -> None:
    configs = [
        RunConfig(
            59, 0.4, 128, 512, 5e-4, 1.0, "clamp", 1 + s / 10, s, "run", 1000, 25, 1.0, 32.492, None, 2,
            arch=arch, heads=4,
        )
        for s in range(6)
    ]  # fmt: skip
    together, alone = stack_of(configs), stack_of(configs[4:5])
    together.advance(3)
    alone.advance(3)
    assert_same_lane(alone, 0, together, 4)
