"""What is read of a network between steps, over all pairs (protocol, Readings).

Each reading is a function of a `Probe`, named as its column in `grok_sweeps.schema.READINGS`; to add one, add both.
A probe holds some lanes of a stack: one at a time on a CPU, where the logits of all pairs of one network fit the cache
and those of several do not, many on a GPU. What several readings need is computed once, when it is first asked for.

Shapes: L lanes, K pairs, C classes.
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
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.lengths import StepLengths, step_lengths
from grok_sweeps.train.network import Everywhere, Network, View, Weights

SATURATED = 0.999
"""A pair is saturated when its largest class probability exceeds this."""
SATURATED_UNIT = 3.0
"""A hidden unit is saturated when its pre-activation is further from 0: GELU's slope is 0 or 1 there to 0.012."""
TOP_FREQUENCIES = 5

Reading = Callable[["Probe"], Tensor | float]
"""A value for each lane, [L], or one number for all."""


@dataclass
class Probe:
    """Networks as they are read, alike in everything but values.

    Args:
        config: the config of one of them, for what all have in common.
        network: their architecture.
        weights: parameters by name, [L, ...] each.
        pairs: all K pairs.
        inverse_tau: one over the temperatures, [L].
        is_train: which pairs each trains on, [L, K] bool.
        before, after, gradient: flat weights [L, n_weights] before and after the last step, and its gradient.
        engine: how they are computed.
    """

    config: RunConfig
    network: Network
    weights: Weights
    pairs: PairTensors
    inverse_tau: Tensor
    is_train: Tensor
    before: Tensor
    after: Tensor
    gradient: Tensor
    engine: Engine

    @cached_property
    def everywhere(self) -> Everywhere:
        """What is read of every pair."""
        view = View(self.pairs, self.inverse_tau, self.config.normalizer, SATURATED_UNIT)
        return self.network.everywhere(self.weights, view, self.engine)

    @cached_property
    def step(self) -> StepLengths:
        """Lengths of what the last step did."""
        return step_lengths(self.before, self.after, self.gradient, self.network.layout, self.engine)

    @cached_property
    def correct(self) -> Tensor:
        """Whether each pair's class has the largest probability, and alone the largest logit: no tie counts, [L, K].

        Logits are compared as the network gives them. Divided by a large tau, or as logarithms of probabilities, those
        of different classes may round to one number.
        """
        largest = self.everywhere.log_of_class >= self.everywhere.log_of_largest  # nowhere, where one is not finite
        return largest & (self.everywhere.ahead > 0)

    @cached_property
    def losses(self) -> Tensor:
        """Each pair's loss against its own label, [L, K]: no smoothing, penalty or compensation.

        The same measure for every run of one loss, whatever the training adds to it.
        """
        if self.config.loss == "mse":
            return self.everywhere.norm.square() - 2 * self.everywhere.of_class + 1
        return -self.everywhere.log_of_class

    def train_mean(self, values: Tensor) -> Tensor:
        """Mean of [L, K] over the train pairs, [L]."""
        return (values * self.is_train).sum(1).double() / self.is_train.sum(1)

    def test_mean(self, values: Tensor) -> Tensor:
        """Mean of [L, K] over the test pairs, [L]."""
        return (values * ~self.is_train).sum(1).double() / (~self.is_train).sum(1)


def _layer_norm(layer: str) -> Reading:
    return lambda probe: probe.step.layers.get(layer, math.nan)


def _softmax_collapse(probe: Probe) -> Tensor:
    """A probability that rounds to 1 leaves no gradient (arXiv:2501.04697)."""
    return probe.train_mean(probe.everywhere.log_of_class >= 0.0)


def _turn_angle(probe: Probe) -> Tensor:
    """Angle between u and v = u + d: atan2 of d's parts across and along u, exact at small angles where acos is not."""
    step = probe.step
    across = (step.change.square() - step.along.square()).clamp(min=0).sqrt()
    return torch.atan2(across, step.before + step.along)


def _fourier_concentration(probe: Probe) -> Tensor:
    """Power summed over the embedding's columns, at the frequencies 1 … (P−1)/2 over residues."""
    p = probe.config.p
    embedding = probe.weights[probe.network.embedding][:, None, :p]
    waves = _waves(p, embedding.dtype, embedding.device) @ embedding  # cosine and sine, [L, 2, P // 2, D]
    power = waves.square().sum(-1).sum(1).double()
    top: Tensor = power.topk(min(TOP_FREQUENCIES, power.shape[1])).values
    return top.sum(1) / power.sum(1)


@lru_cache(maxsize=8)
def _waves(p: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cosines and sines of the frequencies 1 … P // 2 over the residues, [2, P // 2, P]."""
    angle = 2 * math.pi * torch.outer(torch.arange(1, p // 2 + 1), torch.arange(p)).double() / p
    return torch.stack([angle.cos(), angle.sin()]).to(device, dtype)


TAKEN: dict[str, Reading] = {
    "train_loss": lambda probe: probe.train_mean(probe.losses),
    "test_loss": lambda probe: probe.test_mean(probe.losses),
    "train_accuracy": lambda probe: probe.train_mean(probe.correct),
    "test_accuracy": lambda probe: probe.test_mean(probe.correct),
    "logit_scale": lambda probe: probe.everywhere.norm.mean(1),
    "softmax_collapse": _softmax_collapse,
    "saturation": lambda probe: (probe.everywhere.log_of_largest.exp() > SATURATED).double().mean(1),
    "weight_norm": lambda probe: probe.step.after,
    **{f"norm_{layer}": _layer_norm(layer) for architecture in ARCHITECTURES.values() for layer in architecture.layers},
    "grad_norm": lambda probe: probe.step.gradient,
    "update_norm": lambda probe: probe.step.change,
    "turn_angle": _turn_angle,
    "preactivation_rms": lambda probe: probe.everywhere.mean_square.sqrt(),
    "saturated_units": lambda probe: probe.everywhere.beyond,
    "fourier_concentration": _fourier_concentration,
}


def take_readings(probe: Probe) -> list[dict[str, float]]:
    """For each lane a value for each of `schema.READING_NAMES`; NaN where the architecture has nothing of the kind."""
    like = probe.after
    columns = [torch.as_tensor(TAKEN[name](probe), dtype=torch.float64, device=like.device) for name in READING_NAMES]
    values = torch.stack([column.expand(len(like)) for column in columns], dim=1)
    return [dict(zip(READING_NAMES, lane, strict=True)) for lane in values.tolist()]
