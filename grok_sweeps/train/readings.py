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
from grok_sweeps.train.losses import log_probabilities
from grok_sweeps.train.network import Network, Weights

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
        tau: temperatures, [L].
        is_train: which pairs each trains on, [L, K] bool.
        before, after, gradient: flat weights [L, n_weights] before and after the last step, and its gradient.
    """

    config: RunConfig
    network: Network
    weights: Weights
    pairs: PairTensors
    tau: Tensor
    is_train: Tensor
    before: Tensor
    after: Tensor
    gradient: Tensor

    @cached_property
    def _everywhere(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits / tau [L, K, C], and of the pre-activations the mean square and the share beyond `SATURATED_UNIT`."""
        tables = self.network.tables(self.weights)
        everywhere = (x.expand(len(self.tau), -1) for x in (self.pairs.a, self.pairs.b))
        logits, pre = self.network.forward(tables, *everywhere)
        mean_square = pre.square_().flatten(1).mean(1)
        torch.gt(pre, SATURATED_UNIT**2, out=pre)  # into floats: comparing into booleans takes five times as long
        return logits.div_(self.tau[:, None, None]), mean_square, pre.flatten(1).mean(1)

    @property
    def x(self) -> Tensor:
        """Logits / tau of all pairs, [L, K, C]: what the loss sees."""
        return self._everywhere[0]

    @property
    def mean_square(self) -> Tensor:
        """Mean square of the hidden pre-activations over all pairs and units, [L]."""
        return self._everywhere[1]

    @property
    def saturated(self) -> Tensor:
        """Share of them beyond `SATURATED_UNIT`, [L]."""
        return self._everywhere[2]

    @cached_property
    def update(self) -> Tensor:
        """The weights' change in the last step, [L, n_weights]."""
        return self.after - self.before

    @cached_property
    def update_norm(self) -> Tensor:
        """Its norm, [L]."""
        return _norm(self.update)

    @cached_property
    def log_probability(self) -> Tensor:
        """Logarithms of the class probabilities of all pairs, [L, K, C]."""
        return log_probabilities(self.x, self.config.normalizer)

    @cached_property
    def on_target(self) -> Tensor:
        """Logarithm of each pair's correct-class probability, [L, K]; 0 where the probability rounds to 1."""
        return self._of_target(self.log_probability)

    @cached_property
    def largest(self) -> Tensor:
        """Logarithm of each pair's largest probability, [L, K]."""
        return self.log_probability.amax(-1)

    @cached_property
    def losses(self) -> Tensor:
        """Each pair's loss against its own label, [L, K]: no smoothing, penalty or compensation.

        The same measure for every run of one loss, whatever the training adds to it.
        """
        if self.config.loss == "mse":
            return self.x.square().sum(-1) - 2 * self._of_target(self.x) + 1
        return -self.on_target

    @cached_property
    def layer_norms(self) -> dict[str, Tensor]:
        """Norm of each layer, [L] each."""
        return {layer: _norm(self.after[:, span]) for layer, span in self.network.layout.layers.items()}

    def train_mean(self, values: Tensor) -> Tensor:
        """Mean of [L, K] over the train pairs, [L]."""
        return (values * self.is_train).sum(1).double() / self.is_train.sum(1)

    def test_mean(self, values: Tensor) -> Tensor:
        """Mean of [L, K] over the test pairs, [L]."""
        return (values * ~self.is_train).sum(1).double() / (~self.is_train).sum(1)

    def _of_target(self, values: Tensor) -> Tensor:
        """The correct class's entry of values [L, K, C], [L, K]."""
        index = self.pairs.target[None, :, None].expand(len(values), -1, 1)
        return values.gather(2, index)[..., 0]


def _layer_norm(layer: str) -> Reading:
    return lambda probe: probe.layer_norms.get(layer, math.nan)


def _norm(values: Tensor) -> Tensor:
    """Norms of the rows of [L, n], accumulated in float64."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
    return norm


def _weight_norm(probe: Probe) -> Tensor:
    return torch.stack(list(probe.layer_norms.values())).square().sum(0).sqrt()


def _softmax_collapse(probe: Probe) -> Tensor:
    """A probability that rounds to 1 leaves no gradient (arXiv:2501.04697)."""
    return probe.train_mean(probe.on_target >= 0.0)


def _turn_angle(probe: Probe) -> Tensor:
    """Angle between u and v = u + d: atan2 of d's parts across and along u, exact at small angles where acos is not."""
    u, d = probe.before, probe.update
    norm, along = _norm(u), torch.bmm(u[:, None], d[:, :, None])[:, 0, 0].double()
    across = (probe.update_norm.square() - (along / norm).square()).clamp(min=0).sqrt()
    return torch.atan2(across, norm + along / norm)


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
    "train_accuracy": lambda probe: probe.train_mean(probe.on_target >= probe.largest),
    "test_accuracy": lambda probe: probe.test_mean(probe.on_target >= probe.largest),
    "logit_scale": lambda probe: torch.linalg.vector_norm(probe.x, dim=-1).mean(1),
    "softmax_collapse": _softmax_collapse,
    "saturation": lambda probe: (probe.largest.exp() > SATURATED).double().mean(1),
    "weight_norm": _weight_norm,
    **{f"norm_{layer}": _layer_norm(layer) for architecture in ARCHITECTURES.values() for layer in architecture.layers},
    "grad_norm": lambda probe: _norm(probe.gradient),
    "update_norm": lambda probe: probe.update_norm,
    "turn_angle": _turn_angle,
    "preactivation_rms": lambda probe: probe.mean_square.sqrt(),
    "saturated_units": lambda probe: probe.saturated,
    "fourier_concentration": _fourier_concentration,
}


def take_readings(probe: Probe) -> list[dict[str, float]]:
    """For each lane a value for each of `schema.READING_NAMES`; NaN where the architecture has nothing of the kind."""
    like = probe.after
    columns = [torch.as_tensor(TAKEN[name](probe), dtype=torch.float64, device=like.device) for name in READING_NAMES]
    values = torch.stack([column.expand(len(like)) for column in columns], dim=1)
    return [dict(zip(READING_NAMES, lane, strict=True)) for lane in values.tolist()]
