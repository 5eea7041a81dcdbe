"""What is read of a network between steps, over all pairs (protocol, Readings).

Each reading is a function of a `Probe`, named as its column in `grok_sweeps.schema.READINGS`; to add one, add both.
One lane at a time: on a CPU the logits of all pairs of one network fit the cache, those of several do
not. What several readings need is computed once, when it is first asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.config import RunConfig
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.train.data import PairTensors
from grok_sweeps.train.losses import label_losses, probabilities
from grok_sweeps.train.network import Forward, Network, Weights

SATURATED = 0.999
"""A pair is saturated when its largest class probability exceeds this."""
SATURATED_UNIT = 3.0
"""A hidden unit is saturated when its pre-activation is further from 0: GELU's slope is 0 or 1 there to 0.012."""
TOP_FREQUENCIES = 5

Reading = Callable[["Probe"], Tensor | float]


@dataclass
class Probe:
    """One network as it is read.

    Args:
        config: the run's config.
        network: its architecture.
        weights: parameters by name, [1, ...] each.
        pairs: all K pairs.
        is_train: which of them are trained on, [K] bool.
        before, after, gradient: flat weights [n_weights] before and after the last step, and its gradient.
    """

    config: RunConfig
    network: Network
    weights: Weights
    pairs: PairTensors
    is_train: Tensor
    before: Tensor
    after: Tensor
    gradient: Tensor

    @cached_property
    def forward(self) -> Forward:
        """Logits and pre-activations of all pairs."""
        return self.network.forward(self.weights, self.pairs.a[None], self.pairs.b[None])

    @cached_property
    def x(self) -> Tensor:
        """Logits / tau of all pairs, [K, C]: what the loss sees."""
        return self.forward.logits[0] / self.config.tau

    @cached_property
    def probability(self) -> Tensor:
        """Class probabilities of all pairs, [K, C]."""
        return probabilities(self.x, self.config.normalizer)

    @cached_property
    def losses(self) -> Tensor:
        """Loss of each pair, [K]."""
        return label_losses(self.x, self.pairs.target, self.config.loss, self.config.normalizer)

    @cached_property
    def correct(self) -> Tensor:
        """Whether each pair is answered correctly, [K] bool."""
        return self.x.gather(1, self.pairs.target[:, None])[:, 0] >= self.x.amax(-1)

    @cached_property
    def layer_norms(self) -> dict[str, Tensor]:
        """Norm of each layer."""
        return {layer: _norm(self.after[span]) for layer, span in self.network.layout.layers.items()}

    @cached_property
    def preactivation(self) -> Tensor:
        """Hidden pre-activations of all pairs, flat."""
        return self.forward.preactivation.flatten()

    def train_mean(self, values: Tensor) -> Tensor:
        """Mean over the train pairs."""
        return (values * self.is_train).sum().double() / self.is_train.sum()

    def test_mean(self, values: Tensor) -> Tensor:
        """Mean over the test pairs."""
        return (values * ~self.is_train).sum().double() / (~self.is_train).sum()


def _layer_norm(layer: str) -> Reading:
    return lambda probe: probe.layer_norms.get(layer, math.nan)


def _norm(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values, dtype=torch.float64)
    return norm


def _weight_norm(probe: Probe) -> Tensor:
    return torch.stack(list(probe.layer_norms.values())).square().sum().sqrt()


def _softmax_collapse(probe: Probe) -> Tensor:
    """A probability that rounds to 1 leaves no gradient (arXiv:2501.04697)."""
    return probe.train_mean(probe.probability.gather(1, probe.pairs.target[:, None])[:, 0] >= 1.0)


def _turn_angle(probe: Probe) -> Tensor:
    """2 asin(|u - v| / 2) of the unit vectors u, v: exact at the small angles where acos is not."""
    u, v = probe.before.double(), probe.after.double()
    return 2 * torch.asin(_norm(u / _norm(u) - v / _norm(v)) / 2)


def _fourier_concentration(probe: Probe) -> Tensor:
    """Power summed over the embedding's columns, at the frequencies 1 … (P−1)/2 over residues."""
    p = probe.config.p
    embedding = probe.weights[probe.network.embedding][0, :p]
    power = (_waves(p).to(embedding) @ embedding).square().sum(-1).sum(0).double()  # cosine and sine, [2, P // 2, D]
    top: Tensor = power.topk(min(TOP_FREQUENCIES, len(power))).values
    return top.sum() / power.sum()


@lru_cache(maxsize=8)
def _waves(p: int) -> Tensor:
    """Cosines and sines of the frequencies 1 … P // 2 over the residues, [2, P // 2, P] float64."""
    angle = 2 * math.pi * torch.outer(torch.arange(1, p // 2 + 1), torch.arange(p)).double() / p
    return torch.stack([angle.cos(), angle.sin()])


def _saturated_units(probe: Probe) -> Tensor:
    beyond = probe.preactivation.abs()
    torch.gt(beyond, SATURATED_UNIT, out=beyond)  # into floats: comparing into booleans takes five times as long
    return beyond.sum(dtype=torch.float64) / beyond.numel()


TAKEN: dict[str, Reading] = {
    "train_loss": lambda probe: probe.train_mean(probe.losses),
    "test_loss": lambda probe: probe.test_mean(probe.losses),
    "train_accuracy": lambda probe: probe.train_mean(probe.correct),
    "test_accuracy": lambda probe: probe.test_mean(probe.correct),
    "logit_scale": lambda probe: torch.linalg.vector_norm(probe.x, dim=-1).mean(),
    "softmax_collapse": _softmax_collapse,
    "saturation": lambda probe: (probe.probability.amax(-1) > SATURATED).double().mean(),
    "weight_norm": _weight_norm,
    **{f"norm_{layer}": _layer_norm(layer) for architecture in ARCHITECTURES.values() for layer in architecture.layers},
    "grad_norm": lambda probe: _norm(probe.gradient),
    "update_norm": lambda probe: _norm(probe.after - probe.before),
    "turn_angle": _turn_angle,
    "preactivation_rms": lambda probe: (
        torch.linalg.vector_norm(probe.preactivation) / probe.preactivation.numel() ** 0.5
    ),
    "saturated_units": _saturated_units,
    "fourier_concentration": _fourier_concentration,
}


def take_readings(probe: Probe) -> dict[str, float]:
    """A value for each of `schema.READING_NAMES`; NaN where the architecture has nothing of the kind."""
    values = [torch.as_tensor(TAKEN[name](probe), dtype=torch.float64) for name in READING_NAMES]
    stacked = torch.stack([value.to(probe.after.device) for value in values])
    return dict(zip(READING_NAMES, stacked.tolist(), strict=True))
