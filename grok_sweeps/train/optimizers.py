"""One optimiser step on flat buffers: projection, moments, update, decay and the held norm (protocol, Optimiser).

Order: gradient (projected, where asked for), update, decoupled decay of the weights, then the norm. For a lane whose
norm is held decay and norm are one scaling. What differs between lanes is a value in a tensor [L, 1].

- `adamw`: beta 0.9 and 0.999, epsilon 1e-8, decay apart from the gradient (Loshchilov and Hutter, arXiv:1711.05101).
- `adam`: the same with weight_decay * W added to the gradient instead (Kingma and Ba, arXiv:1412.6980).
- `sgd`: buffer = momentum * buffer + gradient + weight_decay * W; W falls by lr * buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grok_sweeps.arms import Held
from grok_sweeps.config import RunConfig
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.network import Layout
from grok_sweeps.train.values import take_values

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
TINY = 1e-30
"""Keeps a projection along a zero vector finite."""


@dataclass
class Buffers:
    """The flat tensors of L lanes, [L, M] each."""

    weights: Tensor
    moment1: Tensor
    moment2: Tensor
    gradient: Tensor
    scratch: Tensor


@dataclass(frozen=True)
class StepValues:
    """Values of S steps: -lr (bias-corrected for Adam), 1/sqrt(1 - beta2^t), whether the norm is held; [S, L, 1] each.

    Those of one step, [L, 1] each, are what `Optimizer.step` takes.
    """

    minus_rate: Tensor
    root_correction: Tensor
    held: Tensor

    @property
    def n_steps(self) -> int:
        """S."""
        return len(self.held)

    def of_step(self, k: int) -> StepValues:
        """The values of step `k`, from 0."""
        return StepValues(self.minus_rate[k], self.root_correction[k], self.held[k])

    def part(self, first: int, stop: int) -> StepValues:
        """The values of the steps from `first` to before `stop`."""
        return StepValues(self.minus_rate[first:stop], self.root_correction[first:stop], self.held[first:stop])

    def clone(self) -> StepValues:
        """The same values in tensors of their own."""
        return StepValues(self.minus_rate.clone(), self.root_correction.clone(), self.held.clone())

    def copy_(self, other: StepValues) -> None:
        """Take the values of another, in place."""
        self.minus_rate.copy_(other.minus_rate)
        self.root_correction.copy_(other.root_correction)
        self.held.copy_(other.held)


class Optimizer:
    """The step of one stack of lanes, alike in optimiser and projection."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        held: Sequence[Held | None],
        layout: Layout,
        like: Tensor,
        engine: Engine,
    ) -> None:
        self._configs, self._layout, self._like = configs, layout, like
        self._kernels = engine.kernels if like.dtype == torch.float32 else None
        self._name, self._projection = configs[0].optimizer, configs[0].gradient_projection
        self._norm = _HeldNorm(held, layout, like)
        self._l2 = self._column([c.weight_decay for c in configs])
        self._momentum = self._column([c.momentum or 0.0 for c in configs])
        decoupled = self._name == "adamw"
        self._decay = self._column([1 - c.lr * c.weight_decay if decoupled else 1.0 for c in configs])
        # An arm that does not name a step holds its norm from the start (the fork it begins with).
        self._held_from = np.array([c.clamp_from_step or 0 if h else 2**62 for c, h in zip(configs, held, strict=True)])

    def schedule(self, steps: Sequence[int], n_steps: int) -> StepValues:
        """The values of the next `n_steps` steps of lanes that have done `steps`."""
        t = np.asarray(steps)[None, :] + 1 + np.arange(n_steps)[:, None]  # [n_steps, L]
        rate = -np.broadcast_to(np.array([c.lr for c in self._configs]), t.shape)
        if self._name != "sgd":
            rate = rate / (1 - BETA1**t)

        def place(values: np.ndarray, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(values).to(self._like.device, dtype)[..., None]

        return StepValues(
            place(rate, self._like.dtype),
            place(1 / np.sqrt(1 - BETA2**t), self._like.dtype),
            place(t >= self._held_from, torch.bool),
        )

    def take(self, other: Optimizer) -> bool:
        """Become `other`, in the tensors in use; False where their structure differs, and nothing is done."""
        if not take_values(self._tensors(), other._tensors()):
            return False
        self._configs, self._held_from = other._configs, other._held_from
        return True

    def step(self, x: Buffers, values: StepValues) -> None:
        """Move the weights by the gradient that stands in the buffers."""
        if self._projection == "orthogonal":
            self._project(x)
        if self._name != "adamw":
            n = self._layout.n_weights
            x.gradient[:, :n].addcmul_(x.weights[:, :n], self._l2)
        if self._name == "sgd":
            x.moment1.mul_(self._momentum).add_(x.gradient)
            x.weights.addcmul_(x.moment1, values.minus_rate)
        elif self._kernels is not None:
            buffers = (x.weights, x.moment1, x.moment2, x.gradient)
            self._kernels.adam_update(*buffers, values.minus_rate, values.root_correction, (BETA1, BETA2, EPSILON))
        else:
            x.moment1.lerp_(x.gradient, 1 - BETA1)
            x.moment2.mul_(BETA2).addcmul_(x.gradient, x.gradient, value=1 - BETA2)
            torch.sqrt(x.moment2, out=x.scratch)
            x.scratch.mul_(values.root_correction).add_(EPSILON)
            torch.div(x.moment1, x.scratch, out=x.scratch)
            x.weights.addcmul_(x.scratch, values.minus_rate)
        self._norm.scale(x.weights, values.held, self._decay)

    def _project(self, x: Buffers) -> None:
        """Take the part along each parameter tensor out of its gradient: g - (w·g / w·w) w (arXiv:2501.04697, ⊥Grad).

        Removes the direction that only scales the logits. The authors' code then restores the gradient's length, which
        is not part of the equation and which Adam does not see; it is not done here.
        """
        for span in self._layout.spans.values():
            w, g = x.weights[:, span], x.gradient[:, span]
            along = (w * g).sum(1, keepdim=True) / ((w * w).sum(1, keepdim=True) + TINY)
            g.addcmul_(w, along, value=-1)

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=self._like.dtype, device=self._like.device)[:, None]

    def _tensors(self) -> list[Tensor]:
        return [self._l2, self._momentum, self._decay, *self._norm.tensors()]


class _HeldNorm:
    """Scales lanes to the norms they are held at."""

    def __init__(self, held: Sequence[Held | None], layout: Layout, like: Tensor) -> None:
        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]

        self._layout = layout
        self._total = column([h.norm if h else 1.0 for h in held])
        by_layer = [h.layers if h else None for h in held]
        self._layers = None
        if any(layers is not None for layers in by_layer):
            for layers in by_layer:
                if layers is not None and set(layers) != set(layout.layers):
                    raise ValueError(
                        f"Held.layers: an arm gives norms for {', '.join(layers)}, and the layers of the network are "
                        f"{', '.join(layout.layers)}; give one for each."
                    )
            self._by_layer = torch.tensor([bool(layers) for layers in by_layer], device=like.device)[:, None]
            self._layers = [column([layers[name] if layers else 1.0 for layers in by_layer]) for name in layout.layers]

    def tensors(self) -> list[Tensor]:
        """The values that differ between lanes."""
        return [self._total, *([self._by_layer, *self._layers] if self._layers is not None else [])]

    def scale(self, weights: Tensor, held: Tensor, otherwise: Tensor | float) -> None:
        """Scale the lanes in `held` to their norms and multiply the others' weights by `otherwise`."""
        matrices = weights[:, : self._layout.n_weights]
        norm = torch.linalg.vector_norm(matrices, dim=1, keepdim=True)
        factor = torch.where(held, self._total / norm, otherwise)
        if self._layers is None:
            matrices.mul_(factor)
            return
        for span, target in zip(self._layout.layers.values(), self._layers, strict=True):
            layer = weights[:, span]
            own = target / torch.linalg.vector_norm(layer, dim=1, keepdim=True)
            layer.mul_(torch.where(held & self._by_layer, own, factor))


def hold(weights: Tensor, held: Held, layout: Layout) -> None:
    """Scale one run's flat weights [M] to the norms they are to be held at, in place."""
    row = weights[None]
    _HeldNorm([held], layout, row).scale(row, torch.ones(1, 1, dtype=torch.bool, device=weights.device), 1.0)
