"""One train step against the protocol, written out plainly in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from packs import stack_of
from textbook import textbook_logits, textbook_loss

from grok_sweeps.config import RunConfig
from grok_sweeps.train.data import train_rows
from grok_sweeps.train.lanes import LaneTensors
from grok_sweeps.train.network import network_of

Make = Callable[..., RunConfig]


def norm_of(config: RunConfig, weights: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(weights[: network_of(config).layout.n_weights].double()))


def initial_weights(config: RunConfig) -> torch.Tensor:
    return LaneTensors.fresh(config).weights


def plain_training(config: RunConfig, n_steps: int, held: float | None) -> torch.Tensor:
    """Adam, then decay, then clamp, one network, autograd on the concatenated form; flat weights in float64."""
    layout = network_of(config).layout
    flat = initial_weights(config).double()[None]
    m, v = torch.zeros_like(flat), torch.zeros_like(flat)
    rows = train_rows(config)
    a, b = rows // config.p, rows % config.p
    for t in range(1, n_steps + 1):
        leaf = flat.clone().requires_grad_()
        w = {name: view[0] for name, view in layout.views(leaf).items()}
        textbook_loss(config, textbook_logits(config, w, a, b), (a + b) % config.p).backward()
        g = leaf.grad
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        flat = flat - config.lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        matrices = flat[:, : layout.n_weights]
        matrices *= 1 - config.lr * config.weight_decay
        if held is not None and t >= (config.clamp_from_step or 0):
            matrices *= held / matrices.norm()
    return flat[0]


@pytest.mark.rounding
@pytest.mark.parametrize("held", [None, 20.0])
def test_twenty_steps_follow_the_protocol(small_config: Make, held: float | None) -> None:
    changes = {} if held is None else {"arm": "clamp", "rho": 1.0, "w_c": held, "clamp_from_step": 7, "tau": 1.5}
    config = small_config(3, **changes, dtype="float64")  # what float32 makes of a step: test_engines.py
    stack = stack_of([config])
    stack.advance(20)
    torch.testing.assert_close(stack.state(0).weights, plain_training(config, 20, held), rtol=1e-9, atol=1e-9)


def test_the_norm_is_held_from_its_step_on_and_free_before(small_config: Make) -> None:
    config = small_config(arm="clamp", rho=1.1, w_c=20.0, clamp_from_step=30)
    stack = stack_of([config])
    stack.advance(29)
    assert abs(norm_of(config, stack.state(0).weights) - 22.0) > 0.1
    for _ in range(40):
        stack.advance(1)
        assert norm_of(config, stack.state(0).weights) == pytest.approx(22.0, rel=1e-6)


def test_lanes_of_different_rates_and_arms_do_not_touch_each_other(small_config: Make) -> None:
    configs = [
        small_config(0),
        small_config(1, lr=0.002, weight_decay=1.0),
        small_config(2, arm="clamp", rho=1.0, w_c=25.0, clamp_from_step=10, tau=1.7),
    ]
    together = stack_of(configs)
    together.advance(60)
    for lane, config in enumerate(configs):
        alone = stack_of([config])
        alone.advance(60)
        assert torch.equal(alone.state(0).weights, together.state(lane).weights)
        assert torch.equal(alone.state(0).moment2, together.state(lane).moment2)


def test_paper_seeding_takes_a_slice_of_one_block(small_config: Make) -> None:
    config = small_config(2, seeding="paper", seeds_in_block=4)
    generator = torch.Generator().manual_seed(0)
    e = torch.randn(4, 23, 48, generator=generator) / 48**0.5
    w1 = torch.randn(4, 96, 96, generator=generator) / 96**0.5
    w2 = torch.randn(4, 96, 23, generator=generator) / 96**0.5
    expected = torch.cat([e[2].flatten(), w1[2].flatten(), w2[2].flatten(), torch.zeros(96 + 23)])
    assert torch.equal(initial_weights(config), expected)


def test_the_split_has_floor_of_the_fraction_and_depends_on_the_seed_alone(small_config: Make) -> None:
    rows = train_rows(small_config(1))
    assert len(rows) == int(0.8 * 23 * 23) == len(rows.unique())
    expected = torch.randperm(23 * 23, generator=torch.Generator().manual_seed(1001))[: len(rows)]
    assert set(rows.tolist()) == set(expected.tolist())
    assert torch.equal(rows, train_rows(small_config(1, tau=2.0, lr=0.1)))
    assert not torch.equal(rows, train_rows(small_config(2)))


def test_the_papers_network_trains_bit_for_bit_the_same_alone_and_among_twelve_lanes() -> None:
    configs = [
        RunConfig(59, 0.4, 128, 256, 1e-3, 1.0, "clamp", 1 + s / 10, s, "run", 1000, 25, 1.0, 54.489296, None, 10)
        for s in range(12)
    ]
    together, alone = stack_of(configs), stack_of(configs[7:8])
    together.advance(30)
    alone.advance(30)
    assert torch.equal(alone.state(0).weights, together.state(7).weights)
    read_alone, read_together = alone.read([0])[0], together.read([7])[0]
    assert pytest.approx(read_alone, rel=0, abs=0, nan_ok=True) == read_together
