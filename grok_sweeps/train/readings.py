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
from grok_sweeps.train.losses import log_probabilities
from grok_sweeps.train.network import Network, Weights

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
    def _everywhere(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits / tau [K, C], and of the pre-activations the mean square and the share beyond `SATURATED_UNIT`."""
        tables = self.network.tables(self.weights)
        logits, pre = self.network.forward(tables, self.pairs.a[None], self.pairs.b[None])
        mean_square = pre.square_().mean()
        torch.gt(pre, SATURATED_UNIT**2, out=pre)  # into floats: comparing into booleans takes five times as long
        return logits[0].div_(self.config.tau), mean_square, pre.mean()

    @property
    def x(self) -> Tensor:
        """Logits / tau of all pairs, [K, C]: what the loss sees."""
        return self._everywhere[0]

    @property
    def mean_square(self) -> Tensor:
        """Mean square of the hidden pre-activations over all pairs and units."""
        return self._everywhere[1]

    @property
    def saturated(self) -> Tensor:
        """Share of them beyond `SATURATED_UNIT`."""
        return self._everywhere[2]

    @cached_property
    def update(self) -> Tensor:
        """The weights' change in the last step, [n_weights]."""
        return self.after - self.before

    @cached_property
    def update_norm(self) -> Tensor:
        """Its norm."""
        return _norm(self.update)

    @cached_property
    def log_probability(self) -> Tensor:
        """Logarithms of the class probabilities of all pairs, [K, C]."""
        return log_probabilities(self.x, self.config.normalizer)

    @cached_property
    def on_target(self) -> Tensor:
        """Logarithm of each pair's correct-class probability, [K]; 0 where the probability rounds to 1."""
        return self.log_probability.gather(1, self.pairs.target[:, None])[:, 0]

    @cached_property
    def largest(self) -> Tensor:
        """Logarithm of each pair's largest probability, [K]."""
        return self.log_probability.amax(-1)

    @cached_property
    def losses(self) -> Tensor:
        """Each pair's loss against its own label, [K]: no smoothing, penalty or compensation.

        The same measure for every run of one loss, whatever the training adds to it.
        """
        if self.config.loss == "mse":
            return self.x.square().sum(-1) - 2 * self.x.gather(1, self.pairs.target[:, None])[:, 0] + 1
        return -self.on_target

    @cached_property
    def layer_norms(self) -> dict[str, Tensor]:
        """Norm of each layer."""
        return {layer: _norm(self.after[span]) for layer, span in self.network.layout.layers.items()}

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
    return probe.train_mean(probe.on_target >= 0.0)


def _turn_angle(probe: Probe) -> Tensor:
    """Angle between u and v = u + d: atan2 of d's parts across and along u, exact at small angles where acos is not."""
    u, d = probe.before, probe.update
    norm, along = _norm(u), torch.dot(u, d).double()
    across = (probe.update_norm.square() - (along / norm).square()).clamp(min=0).sqrt()
    return torch.atan2(across, norm + along / norm)


def _fourier_concentration(probe: Probe) -> Tensor:
    """Power summed over the embedding's columns, at the frequencies 1 … (P−1)/2 over residues."""
    p = probe.config.p
    embedding = probe.weights[probe.network.embedding][0, :p]
    power = (
        (_waves(p, embedding.dtype, embedding.device) @ embedding).square().sum(-1).sum(0).double()
    )  # cosine and sine, [2, P // 2, D]
    top: Tensor = power.topk(min(TOP_FREQUENCIES, len(power))).values
    return top.sum() / power.sum()


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
    "logit_scale": lambda probe: torch.linalg.vector_norm(probe.x, dim=-1).mean(),
    "softmax_collapse": _softmax_collapse,
    "saturation": lambda probe: (probe.largest.exp() > SATURATED).double().mean(),
    "weight_norm": _weight_norm,
    **{f"norm_{layer}": _layer_norm(layer) for architecture in ARCHITECTURES.values() for layer in architecture.layers},
    "grad_norm": lambda probe: _norm(probe.gradient),
    "update_norm": lambda probe: probe.update_norm,
    "turn_angle": _turn_angle,
    "preactivation_rms": lambda probe: probe.mean_square.sqrt(),
    "saturated_units": lambda probe: probe.saturated,
    "fourier_concentration": _fourier_concentration,
}


def take_readings(probe: Probe) -> dict[str, float]:
    """A value for each of `schema.READING_NAMES`; NaN where the architecture has nothing of the kind."""
    values = [torch.as_tensor(TAKEN[name](probe), dtype=torch.float64) for name in READING_NAMES]
    stacked = torch.stack([value.to(probe.after.device) for value in values])
    return dict(zip(READING_NAMES, stacked.tolist(), strict=True))
