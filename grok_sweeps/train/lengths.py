"""Lengths of what one step did to the weights, accumulated in float64, for the readings of norms and angles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from grok_sweeps.train.engine import Engine
from grok_sweeps.train.native import Kernels
from grok_sweeps.train.network import Layout


@dataclass(frozen=True)
class StepLengths:
    """Of L lanes, [L] float64 each; u are the weights before the step, d is their change.

    Attributes:
        layers: norm of each layer after the step.
        before, after: |u|, |u + d|.
        gradient: norm of the gradient that the optimiser used.
        change: |d|.
        along: length of d along u, u·d / |u|.
    """

    layers: Mapping[str, Tensor]
    before: Tensor
    after: Tensor
    gradient: Tensor
    change: Tensor
    along: Tensor


def step_lengths(before: Tensor, after: Tensor, gradient: Tensor, layout: Layout, engine: Engine) -> StepLengths:
    """Lengths from the flat weights [L, n] before and after the step and its gradient."""
    spans = layout.layers.values()
    if isinstance(engine.kernels, Kernels) and before.dtype == torch.float32:
        squares = engine.kernels.step_lengths(before.contiguous(), after, gradient, [span.stop for span in spans])
    else:
        d = after - before
        squared = [_norm(x).square() for x in (*(after[:, span] for span in spans), gradient, d)]
        squares = torch.stack([*squared, (before * d).sum(1, dtype=torch.float64)], dim=1)
    *layers, of_gradient, of_change, product = squares.unbind(1)
    of_after = torch.stack(layers).sum(0)
    of_before = of_after - 2 * product - of_change
    norm = of_before.sqrt()
    return StepLengths(
        {name: x.sqrt() for name, x in zip(layout.layers, layers, strict=True)},
        norm,
        of_after.sqrt(),
        of_gradient.sqrt(),
        of_change.sqrt(),
        product / norm,
    )


def _norm(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
    return norm
