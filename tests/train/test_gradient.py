"""Gradients of every architecture, loss and intervention against autograd in float64 on the textbook form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from packs import CPU
from textbook import textbook_logits, textbook_loss

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.config import RunConfig
from grok_sweeps.train.data import PairTensors
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.losses import LogitGradients
from grok_sweeps.train.network import AutogradGradient, RowsInOrder, network_of

N_TRAIN = 20
TAUS = (1.0, 1.7, 0.4)
SIZES = {"p": 7, "d_model": 8, "hidden": 12}

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "ce": [{}, {}, {}],
    "mse": [{"loss": "mse"}] * 3,
    "stablemax": [{"normalizer": "stablemax"}] * 3,
    # Values, not code: lanes with and without them share a stack.
    "smoothed": [{"label_smoothing": 0.1}, {}, {"label_smoothing": 0.3}],
    "smoothed mse": [{"loss": "mse", "label_smoothing": e} for e in (0.2, 0.0, 0.1)],
    "smoothed stablemax": [{"normalizer": "stablemax", "label_smoothing": e} for e in (0.2, 0.0, 0.1)],
    "penalty": [{"logit_penalty": 0.01}, {"logit_penalty": 0.3}, {}],
    "penalty mse": [{"loss": "mse", "logit_penalty": k} for k in (0.01, 0.3, 0.0)],
    "compensated": [{"gradient_compensation": True}, {"gradient_compensation": True}, {}],
    "everything": [
        {"loss": "ce", "gradient_compensation": g, "logit_penalty": k, "label_smoothing": e}
        for g, k, e in ((True, 0.1, 0.2), (True, 0.02, 0.0), (False, 0.1, 0.1))
    ],
}


@pytest.fixture
def base(small_config: Callable[..., RunConfig]) -> RunConfig:
    return small_config(0, **SIZES, dtype="float64")


def configs_of(base: RunConfig, arch: str, changes: list[dict[str, Any]]) -> list[RunConfig]:
    heads = 2 if "heads" in ARCHITECTURES[arch].axes else None
    return [replace(base, arch=arch, heads=heads, tau=tau, **c) for tau, c in zip(TAUS, changes, strict=True)]


def stacked(configs: list[RunConfig]) -> tuple[torch.Tensor, torch.Tensor, PairTensors]:
    """Flat weights [L, M] in float64 with nothing zero, rows [L, N] and all pairs."""
    generator = torch.Generator().manual_seed(5)
    n_parameters = network_of(configs[0]).layout.n_parameters
    flat = torch.randn(len(configs), n_parameters, generator=generator, dtype=torch.float64) / 2
    pairs = PairTensors.of(configs[0])
    rows = torch.stack([torch.randperm(len(pairs.a), generator=generator)[:N_TRAIN] for _ in configs])
    return flat, rows, pairs


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_equals_autograd_on_the_textbook_network(base: RunConfig, arch: str, variant: str) -> None:
    configs = configs_of(base, arch, VARIANTS[variant])
    flat, rows, pairs = stacked(configs)
    network = network_of(configs[0])
    computed = torch.full_like(flat, float("nan"))
    logit_gradients = LogitGradients(configs, N_TRAIN, network.n_classes, torch.float64, CPU)
    gradient = network.gradient(logit_gradients, Engine("eager", CPU))
    gradient.set_pairs(pairs.a[rows], pairs.b[rows], pairs.target[rows])
    gradient(network.layout.views(flat), network.layout.views(computed))
    for lane, config in enumerate(configs):
        leaf = flat[lane : lane + 1].clone().requires_grad_()
        weights = {name: view[0] for name, view in network.layout.views(leaf).items()}
        a, b, target = (x[rows[lane]] for x in (pairs.a, pairs.b, pairs.target))
        textbook_loss(config, textbook_logits(config, weights, a, b), target).backward()
        assert leaf.grad is not None
        torch.testing.assert_close(computed[lane], leaf.grad[0], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_logits_of_all_pairs_equal_the_textbook_network(base: RunConfig, arch: str) -> None:
    configs = configs_of(base, arch, [{}, {}, {}])
    flat, _, pairs = stacked(configs)
    network = network_of(configs[0])
    everywhere = torch.arange(len(pairs.a)).expand(len(configs), -1)
    logits, pre = network.forward(network.tables(network.layout.views(flat)), pairs.a[everywhere], pairs.b[everywhere])
    assert pre.shape == (len(configs), len(pairs.a), base.hidden)
    for lane in range(len(configs)):
        weights = {name: view[lane] for name, view in network.layout.views(flat).items()}
        torch.testing.assert_close(logits[lane], textbook_logits(configs[0], weights, pairs.a, pairs.b))


def test_the_gradient_written_by_hand_equals_the_one_by_autograd_through_its_own_forward(base: RunConfig) -> None:
    configs = configs_of(base, "mlp", [{}, {}, {}])
    flat, rows, pairs = stacked(configs)
    network = network_of(configs[0])
    results = []
    losses = LogitGradients(configs, N_TRAIN, network.n_classes, torch.float64, CPU)
    for gradient in (network.gradient(losses, Engine("eager", CPU)), AutogradGradient(network, losses)):
        gradient.set_pairs(pairs.a[rows], pairs.b[rows], pairs.target[rows])
        results.append(torch.empty_like(flat))
        gradient(network.layout.views(flat), network.layout.views(results[-1]))
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-14)


def test_the_gradient_of_rows_summed_in_order_is_that_of_an_index() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(9, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    places = torch.randint(0, 8, (40,), generator=generator)  # the last row is never taken
    weights = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((rows * weights).sum(), table)[0]
        for rows in (RowsInOrder.apply(table, places), table[places])
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)
