"""Every optimiser against torch's own, lanes of different rates in one stack; the projection; the held norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from packs import held_of, stack_of
from textbook import textbook_logits, textbook_loss

from grok_sweeps.arms import Held
from grok_sweeps.config import RunConfig
from grok_sweeps.train.data import PairTensors, train_rows
from grok_sweeps.train.lanes import LaneTensors
from grok_sweeps.train.network import network_of

Make = Callable[..., RunConfig]
N_STEPS = 30


def torch_optimizer(config: RunConfig, weights: list[torch.Tensor], rest: list[torch.Tensor]) -> torch.optim.Optimizer:
    """torch's optimiser with its own L2 term; torch's AdamW decays before the update and the protocol after it."""
    l2 = 0.0 if config.optimizer == "adamw" else config.weight_decay
    groups = [{"params": weights, "weight_decay": l2}, {"params": rest, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum or 0.0)
    return torch.optim.Adam(groups, lr=config.lr)


def torch_training(config: RunConfig) -> torch.Tensor:
    """`N_STEPS` steps of torch's optimiser on the textbook network; flat weights."""
    layout = network_of(config).layout
    parts = {n: v[0].clone().requires_grad_() for n, v in layout.views(LaneTensors.fresh(config).weights[None]).items()}
    decaying = {q.name for q in layout.parameters if q.layer}
    optimizer = torch_optimizer(
        config, [parts[n] for n in parts if n in decaying], [parts[n] for n in parts if n not in decaying]
    )
    pairs, rows = PairTensors.of(config), train_rows(config)
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        logits = textbook_logits(config, parts, pairs.a[rows], pairs.b[rows])
        textbook_loss(config, logits, pairs.target[rows]).backward()
        if config.gradient_projection == "orthogonal":
            for w in parts.values():
                assert w.grad is not None
                if w.norm() > 0:
                    w.grad -= (w * w.grad).sum() / (w * w).sum() * w.detach()
        optimizer.step()
        if config.optimizer == "adamw":
            with torch.no_grad():
                for name in decaying:
                    parts[name] *= 1 - config.lr * config.weight_decay
    return torch.cat([parts[q.name].detach().flatten() for q in layout.parameters])


@pytest.mark.parametrize("projection", ["none", "orthogonal"])
@pytest.mark.parametrize("arch", ["mlp", "transformer"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_an_optimizer_equals_torchs_in_lanes_of_different_rates(
    small_config: Make, optimizer: str, arch: str, projection: str
) -> None:
    common: dict[str, Any] = {"optimizer": optimizer, "arch": arch, "gradient_projection": projection, "p": 7}
    common |= {"d_model": 8, "hidden": 12, "dtype": "float64", "heads": 2 if arch == "transformer" else None}
    rates = [(0.01, 0.5, 0.9), (0.002, 0.0, 0.0), (0.05, 0.1, 0.5)]
    configs = [
        small_config(seed, lr=lr, weight_decay=decay, momentum=mu if optimizer == "sgd" else None, **common)
        for seed, (lr, decay, mu) in enumerate(rates)
    ]
    stack = stack_of(configs)
    stack.advance(N_STEPS)
    for lane, config in enumerate(configs):
        torch.testing.assert_close(stack.state(lane).weights, torch_training(config), rtol=1e-9, atol=1e-12)


def test_a_projected_gradient_has_no_part_along_any_weight(small_config: Make) -> None:
    config = small_config(gradient_projection="orthogonal", optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1e-3)
    stack = stack_of([replace(config, dtype="float64")])
    stack.advance(5)
    before = stack.state(0).weights
    stack.advance(1)
    step = stack.state(0).weights - before
    for span in network_of(config).layout.spans.values():
        w, d = before[span], step[span]
        assert abs(float(w @ d)) <= 1e-10 * float(w.norm() * d.norm())
        assert float(d.norm()) > 0


W_C = 27.0
SHARES = {"share_embedding": 0.4, "share_hidden": 0.8, "share_readout": 0.4472135954999579}


def allocation(small_config: Make, gamma: float, seed: int = 1, rho: float = 1.05) -> RunConfig:
    return small_config(seed, arm="allocation", gamma=gamma, rho=rho, w_c=W_C, clamp_from_step=10, **SHARES)


def layer_norms(config: RunConfig, weights: torch.Tensor) -> dict[str, float]:
    return {layer: float(weights[span].double().norm()) for layer, span in network_of(config).layout.layers.items()}


@pytest.mark.parametrize("gamma", [-0.6, -0.3, 0.0, 0.3, 0.6])
def test_an_allocation_splits_one_norm(small_config: Make, gamma: float) -> None:
    held = held_of(allocation(small_config, gamma))
    assert held is not None
    assert held.layers is not None
    embedding, hidden, readout = (held.layers[layer] for layer in ("embedding", "hidden", "readout"))
    norm = 1.05 * W_C
    assert held.norm == pytest.approx(norm)
    assert embedding**2 + hidden**2 + readout**2 == pytest.approx(norm**2)
    assert hidden == pytest.approx(0.8 * norm)
    theta0 = 0.2 / (0.16 + 0.2)
    theta = min(max(theta0 * (1 + gamma), 0.02), 0.98)
    assert readout**2 / (embedding**2 + readout**2) == pytest.approx(theta)


def test_no_gamma_keeps_the_controls_shares_and_extreme_ones_are_clipped(small_config: Make) -> None:
    def fraction(gamma: float) -> float:
        held = held_of(allocation(small_config, gamma))
        assert isinstance(held, Held)
        assert held.layers is not None
        return held.layers["readout"] ** 2 / (held.layers["embedding"] ** 2 + held.layers["readout"] ** 2)

    plain = held_of(allocation(small_config, 0.0, rho=1.0))
    assert plain is not None
    assert plain.layers == pytest.approx({name.removeprefix("share_"): W_C * share for name, share in SHARES.items()})
    assert (fraction(-1.0), fraction(5.0)) == (pytest.approx(0.02), pytest.approx(0.98))


def test_held_norms_are_kept_to_a_millionth_in_lanes_of_every_arm(small_config: Make) -> None:
    clamped = small_config(2, arm="clamp", rho=1.1, w_c=W_C, clamp_from_step=10)
    split = allocation(small_config, 0.6)
    free = small_config(3)
    configs = [free, clamped, split, allocation(small_config, -0.6, seed=5)]
    together = stack_of(configs)
    together.advance(9)
    for _ in range(50):
        together.advance(1)
        assert sum(n**2 for n in layer_norms(clamped, together.state(1).weights).values()) ** 0.5 == pytest.approx(
            1.1 * W_C, rel=1e-6
        )
        for lane in (2, 3):
            held = held_of(configs[lane])
            assert held is not None
            assert layer_norms(split, together.state(lane).weights) == pytest.approx(held.layers, rel=1e-6)
    for lane, config in enumerate(configs):
        alone = stack_of([config])
        alone.advance(59)
        assert torch.equal(alone.state(0).weights, together.state(lane).weights), config.arm
