"""What the engine needs of an architecture, the layout of its parameters, and the gradient of one that has no own.

An architecture is a subclass of `Network`, named in the registry `grok_sweeps.architectures`. Its gradient is autograd
unless it brings its own (`Mlp` does).

Shapes: L lanes, N pairs, C classes, M parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from math import prod
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.config import RunConfig
from grok_sweeps.train.data import PairTensors
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.losses import LogitGradients, log_probabilities
from grok_sweeps.train.values import in_place

Weights = dict[str, Tensor]
"""Parameters by name, each with L leading."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor: its shape and its layer; it starts as N(0, 1) / `divisor` or, where that is 0, as `constant`.

    A parameter without a layer (a bias, a gain) neither decays nor counts in the weight norm.
    """

    name: str
    size: tuple[int, ...]
    layer: str = ""
    divisor: float = 0.0
    constant: float = 0.0


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in the flat vector [M]: weights first, layer by layer, then what has no layer."""

    parameters: tuple[Parameter, ...]

    @cached_property
    def spans(self) -> dict[str, slice]:
        """Place of each parameter, by name."""
        spans, start = {}, 0
        for parameter in self.parameters:
            spans[parameter.name] = slice(start, start + prod(parameter.size))
            start += prod(parameter.size)
        return spans

    @cached_property
    def layers(self) -> dict[str, slice]:
        """Place of each layer, by name."""
        layers: dict[str, slice] = {}
        for parameter in self.parameters:
            if parameter.layer:
                span = self.spans[parameter.name]
                layers[parameter.layer] = slice(layers.get(parameter.layer, span).start, span.stop)
        return layers

    @cached_property
    def n_weights(self) -> int:
        """Length of the leading part of the flat vector that decays and counts in the norm."""
        return max(int(span.stop) for span in self.layers.values())

    @cached_property
    def n_parameters(self) -> int:
        """M, the length of the flat vector."""
        return max(int(span.stop) for span in self.spans.values())

    def views(self, flat: Tensor) -> Weights:
        """Views of the parameters in `flat` [L, M], each with L leading."""
        return {q.name: flat[:, self.spans[q.name]].view(-1, *q.size) for q in self.parameters}

    def initial(self, config: RunConfig) -> Tensor:
        """Flat initial parameters of one run, [M] float32: see `Parameter`.

        `seeding: run` draws the run's own tensors from a CPU generator seeded with its seed. `seeding: paper` draws the
        tensors of all `seeds_in_block` seeds together, each kind in turn from one generator seeded with 0, and takes
        slice `seed` (protocol, Seeding).
        """
        if config.seeding == "paper":
            index, drawn = config.seed, _drawn_block(self.parameters, config.seeds_in_block or 1)
        else:
            index, drawn = 0, _drawn(self.parameters, 1, config.seed)
        flat = torch.zeros(self.n_parameters)
        for parameter in self.parameters:
            span = self.spans[parameter.name]
            if parameter.divisor:
                flat[span] = (drawn[parameter.name][index] / parameter.divisor).flatten()
            else:
                flat[span] = parameter.constant
        return flat


def _drawn(parameters: tuple[Parameter, ...], block: int, generator_seed: int) -> Weights:
    """N(0, 1) for the tensors of `block` runs that do not start constant, each kind in turn from one generator."""
    generator = torch.Generator().manual_seed(generator_seed)
    return {q.name: torch.randn(block, *q.size, generator=generator) for q in parameters if q.divisor}


@lru_cache(maxsize=4)  # every run of a cell asks for its slice of the same block
def _drawn_block(parameters: tuple[Parameter, ...], block: int) -> Weights:
    return _drawn(parameters, block, 0)


class Forward(NamedTuple):
    """Logits before the temperature, [L, N, C], and the hidden layer's pre-activations, [L, N, H]."""

    logits: Tensor
    preactivation: Tensor


class Everywhere(NamedTuple):
    """What the readings need of all K pairs, with x = logits / tau: [L, K] of each pair and [L] of all.

    `ahead` is 1 where the logit of the pair's class is above that of every other class, else 0.
    """

    norm: Tensor
    of_class: Tensor
    log_of_class: Tensor
    log_of_largest: Tensor
    ahead: Tensor
    mean_square: Tensor
    beyond: Tensor


@dataclass(frozen=True)
class View:
    """How all pairs are looked at: the pairs, 1 / tau of each lane, the normalizer, the pre-activations' limit."""

    pairs: PairTensors
    inverse_tau: Tensor
    normalizer: str
    limit: float


class GradientOf(Protocol):
    """The loss gradient of L stacked networks on their own train pairs."""

    def set_pairs(self, a: Tensor, b: Tensor, targets: Tensor) -> None:
        """Train on the pairs (a, b) of the classes `targets`, [L, N] each, from now on."""

    def __call__(self, weights: Weights, out: Weights) -> None:
        """Write the gradient at `weights` into `out`, same names and shapes."""


class Network(ABC):
    """One architecture at one size: its parameters, and logits in plain torch over stacked lanes.

    `embedding` names the parameter whose first P rows are the residues.
    """

    layout: Layout
    n_classes: int
    embedding: str = "E"

    def tables(self, weights: Weights) -> Weights:
        """What `forward` needs beside the pairs, computed once for all of them; the weights unless overridden."""
        return weights

    @abstractmethod
    def forward(self, tables: Weights, a: Tensor, b: Tensor) -> Forward:
        """Logits and pre-activations of the pairs (a, b), [L, N] each, from what `tables` gave."""

    def everywhere(self, weights: Weights, view: View, engine: Engine) -> Everywhere:  # noqa: ARG002
        """What the readings need of every pair: the norm of x, its entry for the class, and log-probabilities.

        Of the pre-activations the mean square and the share beyond the limit.
        """
        a, b = (x.expand(len(weights[self.embedding]), -1) for x in (view.pairs.a, view.pairs.b))
        logits, pre = self.forward(self.tables(weights), a, b)
        index = view.pairs.target[None, :, None].expand(len(logits), -1, 1)
        of_class = logits.gather(2, index)
        ahead = of_class[..., 0] > logits.scatter_(2, index, -torch.inf).amax(-1)
        x = logits.scatter_(2, index, of_class).mul_(view.inverse_tau[:, None, None])
        log_q = log_probabilities(x, view.normalizer)
        mean_square = pre.square_().flatten(1).mean(1)
        torch.gt(pre, view.limit**2, out=pre)  # into floats: comparing into booleans takes five times as long
        return Everywhere(
            torch.linalg.vector_norm(x, dim=-1),
            x.gather(2, index)[..., 0],
            log_q.gather(2, index)[..., 0],
            log_q.amax(-1),
            ahead,
            mean_square,
            pre.flatten(1).mean(1),
        )

    def gradient(self, losses: LogitGradients, engine: Engine) -> GradientOf:  # noqa: ARG002
        """The gradient of one stack of lanes, with buffers of its own; autograd's unless overridden."""
        return AutogradGradient(self, losses)


class AutogradGradient:
    """The gradient of any network, by autograd through its `forward`."""

    def __init__(self, network: Network, losses: LogitGradients) -> None:
        self._network, self._losses = network, losses
        self._a: Tensor | None = None
        self._b: Tensor | None = None

    def set_pairs(self, a: Tensor, b: Tensor, targets: Tensor) -> None:
        """See `GradientOf`."""
        self._a, self._b = in_place(self._a, a), in_place(self._b, b)
        self._losses.set_targets(targets)

    def __call__(self, weights: Weights, out: Weights) -> None:
        """See `GradientOf`."""
        assert self._a is not None
        assert self._b is not None
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        logits = self._network.forward(self._network.tables(leaves), self._a, self._b).logits
        seed = self._losses(logits.detach().clone())
        for name, gradient in zip(leaves, torch.autograd.grad(logits, list(leaves.values()), seed), strict=True):
            out[name].copy_(gradient)


class RowsInOrder(torch.autograd.Function):
    """Rows of a table whose gradient is summed in the order of the pairs.

    On a GPU torch adds it up by atomics, in another order each time, and a resumed run would not be the same.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, places: Tensor) -> Tensor:
        """Rows `places` [N] of `table` [P, D], as [N, D]."""
        ctx.save_for_backward(places)
        ctx.n_rows = len(table)
        return table.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """See the class."""
        ordered, order = ctx.saved_tensors[0].sort(stable=True)
        first = torch.searchsorted(ordered, torch.arange(ctx.n_rows + 1, device=order.device))
        return F.embedding_bag(order, gradient.contiguous(), first, mode="sum", include_last_offset=True), None


def rows_of(table: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [L, N] of each lane's table [L, P, D], as [L, N, D]."""
    if table.is_cuda and table.shape[1] == 1:  # the gradient of an only row is one sum
        return table.expand(-1, index.shape[1], -1)
    first = torch.arange(len(table), device=table.device)[:, None] * table.shape[1]
    flat, places = table.flatten(0, 1), (index + first).flatten()
    if table.is_cuda:
        rows: Tensor = RowsInOrder.apply(flat, places)  # type: ignore[no-untyped-call]
    else:
        rows = flat.index_select(0, places)
    return rows.view(*index.shape, table.shape[2])


def network_of(config: RunConfig) -> Network:
    """The network a run trains."""
    module, name = ARCHITECTURES[config.arch].implementation.split(":")
    network: Network = getattr(import_module(module), name)(config)
    return network
