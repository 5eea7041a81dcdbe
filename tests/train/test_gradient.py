"""The hand-derived gradient against autograd in float64 on the textbook form of the network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from grok_sweeps.train.data import labels
from grok_sweeps.train.mlp import MlpGradient, MlpShape, all_logits

SHAPE = MlpShape(p=7, d=5, h=11)
TAUS = (1.0, 1.7, 0.4)
N_TRAIN = 20


@pytest.fixture
def stacked() -> tuple[torch.Tensor, torch.Tensor]:
    """Flat weights [L, M] in float64 with non-zero biases, and train rows [L, N]."""
    generator = torch.Generator().manual_seed(5)
    flat = torch.randn(len(TAUS), SHAPE.n_parameters, generator=generator, dtype=torch.float64) / 2
    rows = torch.stack([torch.randperm(49, generator=generator)[:N_TRAIN] for _ in TAUS])
    return flat, rows


def textbook_logits(weights: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    """Logits of one network from the concatenated embeddings, [N, P]."""
    pair = torch.cat([weights["E"][rows // SHAPE.p], weights["E"][rows % SHAPE.p]], dim=1)
    return F.gelu(pair @ weights["W1"] + weights["b1"]) @ weights["W2"] + weights["b2"]


def test_the_gradient_equals_autograd_on_the_textbook_network(stacked: tuple[torch.Tensor, torch.Tensor]) -> None:
    flat, rows = stacked
    targets = labels(SHAPE.p)[rows]
    computed = torch.full_like(flat, float("nan"))
    inverse_tau = (1 / torch.tensor(TAUS, dtype=torch.float64)).view(-1, 1, 1)
    MlpGradient(SHAPE, rows, targets, torch.float64)(SHAPE.views(flat), inverse_tau, SHAPE.views(computed))
    for lane, tau in enumerate(TAUS):
        leaf = flat[lane : lane + 1].clone().requires_grad_()
        weights = {name: view[0] for name, view in SHAPE.views(leaf).items()}
        F.cross_entropy(textbook_logits(weights, rows[lane]) / tau, targets[lane]).backward()
        torch.testing.assert_close(computed[lane], leaf.grad[0], rtol=1e-11, atol=1e-14)


def test_logits_of_all_pairs_equal_the_textbook_network(stacked: tuple[torch.Tensor, torch.Tensor]) -> None:
    flat, _ = stacked
    everything = all_logits(SHAPE.views(flat), SHAPE)
    for lane in range(len(TAUS)):
        weights = {name: view[lane] for name, view in SHAPE.views(flat).items()}
        torch.testing.assert_close(everything[lane], textbook_logits(weights, torch.arange(49)))


def test_a_pair_is_labelled_with_its_sum() -> None:
    assert labels(5)[3 * 5 + 4].item() == 2
    assert labels(59).bincount().tolist() == [59] * 59
