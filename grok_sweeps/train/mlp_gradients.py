"""The MLP's loss gradient, derived by hand, in three forms: plain torch, and kernels of a CPU and of a GPU.

The backward pass is written out so that it needs train rows only, no graph and no allocation of large buffers. The
agreement of each form with autograd in float64 on the textbook network is a test.

Shapes: L lanes, N train rows, P residues, H hidden units, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_sweeps.train.engine import Engine
from grok_sweeps.train.fused import FusedKernels
from grok_sweeps.train.losses import LogitGradients
from grok_sweeps.train.native import Kernels
from grok_sweeps.train.network import GradientOf, Weights
from grok_sweeps.train.values import take_values

if TYPE_CHECKING:
    from grok_sweeps.train.mlp import Mlp


def mlp_gradient(network: Mlp, losses: LogitGradients, engine: Engine) -> GradientOf:
    """The gradient of one stack of lanes in the form that the engine has for it."""
    kernels = engine.kernels_for(losses.scale.dtype, network.n_classes) if losses.has_softmax else None
    if isinstance(kernels, Kernels):
        return NativeMlpGradient(network, losses, kernels)
    if isinstance(kernels, FusedKernels):
        return FusedMlpGradient(network, losses, kernels)
    return MlpGradient(network, losses)


class _Rows:
    """Where the train pairs' rows stand in the tables, [L, 2, P, H] as rows [L * 2 * P]; the tensors keep their place.

    `gather` finds the rows of the pairs' first and second operands, [L * N] each. For the way back the pairs are listed
    in the order of the rows that they came from, each pair twice, so that sums have a fixed order.
    """

    def __init__(self, n_residues: int) -> None:
        self._p = n_residues
        self._indices: tuple[Tensor, ...] = ()

    def set_pairs(self, a: Tensor, b: Tensor) -> None:
        """Take the pairs (a, b), [L, N] each."""
        lanes, p = len(a), self._p
        row = torch.stack([a, b + p], dim=-1) + (torch.arange(lanes, device=a.device) * 2 * p)[:, None, None]
        flat = row.flatten()
        counts = torch.bincount(flat, minlength=lanes * 2 * p)
        operands = (column.flatten() for column in row.unbind(-1))
        indices = (*operands, torch.argsort(flat, stable=True) // 2, F.pad(counts.cumsum(0), (1, 0)))
        if not take_values(self._indices, indices):
            self._indices = indices

    @property
    def gather(self) -> tuple[Tensor, Tensor]:
        """See the class."""
        return self._indices[0], self._indices[1]

    @property
    def by_row(self) -> tuple[Tensor, Tensor]:
        """The pairs in the order of their rows, [2 * L * N], and where each row's begin and the last one's end."""
        return self._indices[2], self._indices[3]

    def sums(self, of_pairs: Tensor) -> Tensor:
        """Sums over the pairs of every row, [L * 2 * P, H], of [L * N, H]."""
        scatter, offsets = self.by_row
        return F.embedding_bag(scatter, of_pairs, offsets, mode="sum", include_last_offset=True)


class MlpGradient:
    """In plain torch, on any device and in any precision."""

    def __init__(self, network: Mlp, losses: LogitGradients) -> None:
        self._network, self._losses = network, losses
        self._rows = _Rows(network.p)
        self._size = torch.Size()

    def set_pairs(self, a: Tensor, b: Tensor, targets: Tensor) -> None:
        """See `GradientOf`."""
        self._losses.set_targets(targets)
        self._rows.set_pairs(a, b)
        if self._size != a.shape:
            self._size = a.shape
            self._allocate(*a.shape)

    def _allocate(self, n_lanes: int, n: int) -> None:
        p, h, like = self._network.p, self._network.h, self._losses.scale
        self._tables = like.new_empty(n_lanes, 2, p, h)
        self._pre, self._activation, self._d_activation = (like.new_empty(n_lanes, n, h) for _ in range(3))
        self._logits = like.new_empty(n_lanes, n, p)

    def __call__(self, weights: Weights, out: Weights) -> None:
        """Write the gradient at `weights` into `out`, same names and shapes."""
        h, w2 = self._network.h, weights["W2"]
        tables, pre, act, d_act = self._tables, self._pre, self._activation, self._d_activation
        self._network.write_tables(weights, tables)
        for index, place in zip(self._rows.gather, (pre, d_act), strict=True):
            torch.index_select(tables.view(-1, h), 0, index, out=place.view(-1, h))
        pre.add_(d_act)
        torch.ops.aten.gelu.out(pre, out=act)
        torch.baddbmm(weights["b2"][:, None], act, w2, out=self._logits)
        dz = self._losses(self._logits)

        torch.bmm(act.transpose(1, 2), dz, out=out["W2"])
        torch.sum(dz, 1, out=out["b2"])
        torch.bmm(dz, w2.transpose(1, 2), out=d_act)
        torch.ops.aten.gelu_backward.grad_input(d_act, pre, grad_input=act)  # act now holds dLoss/dpre
        d_tables = self._rows.sums(act.view(-1, h)).view_as(tables)
        self._network.write_table_gradient(weights, d_tables, out)


class NativeMlpGradient:
    """All that grows with the pairs in one compiled kernel, float32 on the CPU.

    What is left to torch are the six products with the tables, a sixth of the arithmetic at p = 59.
    """

    def __init__(self, network: Mlp, losses: LogitGradients, kernels: Kernels) -> None:
        self._network, self._losses, self._kernels = network, losses, kernels
        n_lanes = len(losses.scale)
        self._tables, self._d_tables = torch.empty(2, n_lanes, 2, network.p, network.h).unbind()

    def set_pairs(self, a: Tensor, b: Tensor, targets: Tensor) -> None:
        """See `GradientOf`."""
        self._pairs = torch.stack([a, b], dim=-1).int()
        self._targets = targets.int()

    def __call__(self, weights: Weights, out: Weights) -> None:
        """Write the gradient at `weights` into `out`, same names and shapes."""
        losses = self._losses
        self._network.write_tables(weights, self._tables)
        self._kernels.mlp_gradient(
            self._tables,
            (weights["W2"], weights["b2"]),
            self._pairs,
            self._targets,
            (losses.inverse_tau, losses.scale, losses.smoothing, losses.penalty),
            self._d_tables,
            (out["W2"], out["b2"]),
            normalize=losses.loss == "ce",
        )
        self._network.write_table_gradient(weights, self._d_tables, out)


class FusedMlpGradient:
    """Kernels around the two products of the way back, float32 on a GPU."""

    def __init__(self, network: Mlp, losses: LogitGradients, kernels: FusedKernels) -> None:
        self._network, self._losses, self._kernels = network, losses, kernels
        self._rows = _Rows(network.p)
        self._pairs: list[Tensor] = []
        n_lanes = len(losses.scale)
        self._tables, self._d_tables = losses.scale.new_empty(2, n_lanes, 2, network.p, network.h).unbind()

    def set_pairs(self, a: Tensor, b: Tensor, targets: Tensor) -> None:
        """See `GradientOf`."""
        self._rows.set_pairs(a, b)
        pairs = [x.int().contiguous() for x in (a, b, targets)]
        if not take_values(self._pairs, pairs):
            self._pairs = pairs
            self._d_logits = self._tables.new_empty(*a.shape, self._network.n_classes)
            self._activation = self._tables.new_empty(*a.shape, self._network.h)

    def __call__(self, weights: Weights, out: Weights) -> None:
        """Write the gradient at `weights` into `out`, same names and shapes."""
        losses, w2, act, dz = self._losses, weights["W2"], self._activation, self._d_logits
        self._network.write_tables(weights, self._tables)
        self._kernels.mlp_logit_gradient(
            self._tables,
            (w2, weights["b2"]),
            self._pairs,
            (losses.inverse_tau, losses.scale, losses.smoothing, losses.penalty),
            act,
            dz,
            normalize=losses.loss == "ce",
        )
        torch.bmm(act.transpose(1, 2), dz, out=out["W2"])
        torch.sum(dz, 1, out=out["b2"])
        torch.bmm(dz, w2.transpose(1, 2), out=act)  # act now holds dLoss/dactivation
        self._kernels.mlp_table_gradient(self._tables, self._pairs[:2], self._rows.by_row, act, self._d_tables)
        self._network.write_table_gradient(weights, self._d_tables, out)
