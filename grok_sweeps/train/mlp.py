"""The `mlp` architecture: its parameters, and its loss gradient derived by hand.

Network (arXiv:2606.18465): shared embedding E [P, D]; hidden layer on the concatenation [E[a], E[b]] with W1 [2D, H],
b1 [H] and exact GELU; readout W2 [H, P], b2 [P]. The hidden layer of a pair is `E[a] W1[:D] + E[b] W1[D:] + b1`, which
is two [P, H] tables and a gather, the same function at a fraction of the arithmetic.

The backward pass is written out so that it needs train rows only, no graph and no allocation of large buffers. Its
agreement with autograd in float64 on the textbook form is a test. Every product is batched over lanes, and no operation
mixes lanes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_sweeps.config import RunConfig
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.losses import LogitGradients
from grok_sweeps.train.native import Kernels
from grok_sweeps.train.network import Forward, GradientOf, Layout, Network, Parameter, Weights, rows_of
from grok_sweeps.train.values import take_values


class Mlp(Network):
    """The paper's network at one size: modulus P, width D, hidden width H."""

    def __init__(self, config: RunConfig) -> None:
        self.p, self.d, self.h = config.p, config.d_model, config.hidden
        self.n_classes = self.p
        self.layout = Layout(
            (
                Parameter("E", (self.p, self.d), "embedding", self.d**0.5),
                Parameter("W1", (2 * self.d, self.h), "hidden", (2 * self.d) ** 0.5),
                Parameter("W2", (self.h, self.p), "readout", self.h**0.5),
                Parameter("b1", (self.h,)),
                Parameter("b2", (self.p,)),
            )
        )

    def tables(self, weights: Weights) -> Weights:
        """What each residue gives to the hidden layer as first and as second operand, [L, P, H]; and the readout."""
        e, w1 = weights["E"], weights["W1"]
        second = torch.bmm(e, w1[:, self.d :]) + weights["b1"][:, None]
        return {"first": torch.bmm(e, w1[:, : self.d]), "second": second, "W2": weights["W2"], "b2": weights["b2"]}

    def forward(self, tables: Weights, a: Tensor, b: Tensor) -> Forward:
        """Logits before the temperature [L, N, P] and pre-activations [L, N, H] of the pairs (a, b), [L, N] each."""
        first, second = tables["first"], tables["second"]
        if a.shape[1] == self.p**2:  # every pair, which come in the order of a·p + b: no gather
            pre = (first[:, :, None] + second[:, None]).flatten(1, 2)
        else:
            pre = rows_of(first, a).add_(rows_of(second, b))
        return Forward(torch.baddbmm(tables["b2"][:, None], F.gelu(pre), tables["W2"]), pre)

    def gradient(self, losses: LogitGradients, engine: Engine) -> GradientOf:
        """The hand-derived gradient for one stack of lanes, in compiled kernels where the engine has them."""
        if engine.kernels is not None and losses.has_softmax and losses.scale.dtype == torch.float32:
            return NativeMlpGradient(self, losses, engine.kernels)
        return MlpGradient(self, losses)


class MlpGradient:
    """Loss gradient of L stacked networks on their own train pairs, into preallocated buffers, in plain torch."""

    def __init__(self, network: Mlp, losses: LogitGradients) -> None:
        self._network, self._losses = network, losses
        self._dtype, self._device = losses.scale.dtype, losses.scale.device
        self._size = (0, 0)
        self._indices: tuple[Tensor, ...] = ()

    def set_pairs(self, a: Tensor, b: Tensor, targets: Tensor) -> None:
        """See `GradientOf`."""
        self._losses.set_targets(targets)
        n_lanes, n = a.shape
        p = self._network.p
        table_row = torch.stack([a, b + p], dim=-1)  # [L, N, 2]: row a of table A, row b of table B
        table_row = table_row + (torch.arange(n_lanes, device=self._device) * 2 * p)[:, None, None]
        gather_a, gather_b = (column.flatten() for column in table_row.unbind(-1))
        flat = table_row.flatten()
        counts = torch.bincount(flat, minlength=n_lanes * 2 * p)
        indices = (gather_a, gather_b, torch.argsort(flat, stable=True) // 2, counts.cumsum(0) - counts)
        if not take_values(self._indices, indices):
            self._indices = indices
        if self._size != (n_lanes, n):
            self._size = (n_lanes, n)
            self._allocate(n_lanes, n)

    def _allocate(self, n_lanes: int, n: int) -> None:
        p, h = self._network.p, self._network.h

        def buffer(*size: int) -> Tensor:
            return torch.empty(n_lanes, *size, dtype=self._dtype, device=self._device)

        self._tables = buffer(2 * p, h)
        self._pre, self._activation, self._d_activation = buffer(n, h), buffer(n, h), buffer(n, h)
        self._logits = buffer(n, p)

    def __call__(self, weights: Weights, out: Weights) -> None:
        """Write the gradient at `weights` into `out`, same names and shapes."""
        p, d, h = self._network.p, self._network.d, self._network.h
        e, w1, w2 = weights["E"], weights["W1"], weights["W2"]
        tables, pre, act, d_act = self._tables, self._pre, self._activation, self._d_activation
        gather_a, gather_b, scatter, offsets = self._indices

        torch.bmm(e, w1[:, :d], out=tables[:, :p])
        torch.bmm(e, w1[:, d:], out=tables[:, p:])
        tables[:, p:].add_(weights["b1"][:, None])
        rows = tables.view(-1, h)
        torch.index_select(rows, 0, gather_a, out=pre.view(-1, h))
        torch.index_select(rows, 0, gather_b, out=d_act.view(-1, h))
        pre.add_(d_act)
        torch.ops.aten.gelu.out(pre, out=act)
        torch.baddbmm(weights["b2"][:, None], act, w2, out=self._logits)
        dz = self._losses(self._logits)

        torch.bmm(act.transpose(1, 2), dz, out=out["W2"])
        torch.sum(dz, 1, out=out["b2"])
        torch.bmm(dz, w2.transpose(1, 2), out=d_act)
        torch.ops.aten.gelu_backward.grad_input(d_act, pre, grad_input=act)  # act now holds dLoss/dpre
        d_tables = F.embedding_bag(scatter, act.view(-1, h), offsets, mode="sum")
        d_tables = d_tables.view_as(tables)
        torch.bmm(e.transpose(1, 2), d_tables[:, :p], out=out["W1"][:, :d])
        torch.bmm(e.transpose(1, 2), d_tables[:, p:], out=out["W1"][:, d:])
        torch.sum(d_tables[:, p:], 1, out=out["b1"])
        torch.bmm(d_tables[:, :p], w1[:, :d].transpose(1, 2), out=out["E"])
        out["E"].baddbmm_(d_tables[:, p:], w1[:, d:].transpose(1, 2))


ROW_MULTIPLE = 16
"""Rows of the native gradient's buffers are a multiple of this: two vectors of eight floats, and every lane aligned."""


class NativeMlpGradient:
    """The same gradient with everything but the matrix products in compiled kernels, float32 on the CPU.

    Logits are kept transposed, [L, C, R] for R >= N rows: the products then have a long contiguous side, which the BLAS
    does at up to twice the rate of a side of 59 classes, and the softmax runs along rows, not within them. GELU's slope
    comes with its value, where its exponential is at hand.
    """

    def __init__(self, network: Mlp, losses: LogitGradients, kernels: Kernels) -> None:
        self._network, self._losses, self._kernels = network, losses, kernels
        self._size = (0, 0)

    def set_pairs(self, a: Tensor, b: Tensor, targets: Tensor) -> None:
        """See `GradientOf`."""
        self._pairs = torch.stack([a, b], dim=-1).int().contiguous()
        self._targets = targets.int().contiguous()
        if self._size != tuple(a.shape):
            n_lanes, n = self._size = (a.shape[0], a.shape[1])
            self._allocate(n_lanes, -(-n // ROW_MULTIPLE) * ROW_MULTIPLE)

    def _allocate(self, n_lanes: int, rows: int) -> None:
        p, h = self._network.p, self._network.h
        self._tables, self._d_tables = torch.empty(2, n_lanes, 2, p, h).unbind()
        # Rows past the last pair stay zero in all three.
        self._activation, self._slope, self._d_activation = torch.zeros(3, n_lanes, rows, h).unbind()
        self._logits = torch.zeros(n_lanes, p, rows)
        self._d_readout = torch.empty(n_lanes, p, h)
        self._work = torch.empty(2 + (p if self._losses.penalizes else 0), rows)

    def __call__(self, weights: Weights, out: Weights) -> None:
        """Write the gradient at `weights` into `out`, same names and shapes."""
        d, kernels, losses = self._network.d, self._kernels, self._losses
        e, w1, w2 = weights["E"], weights["W1"], weights["W2"]
        tables, d_tables = self._tables, self._d_tables

        torch.bmm(e, w1[:, :d], out=tables[:, 0])
        torch.bmm(e, w1[:, d:], out=tables[:, 1])
        tables[:, 1].add_(weights["b1"][:, None])
        kernels.hidden_forward(tables, self._pairs, self._activation, self._slope)
        torch.bmm(w2.transpose(1, 2), self._activation.transpose(1, 2), out=self._logits)
        d_bias = torch.empty_like(weights["b2"], memory_format=torch.contiguous_format)
        kernels.logit_gradient(
            self._logits,
            weights["b2"].contiguous(),
            self._targets,
            losses.inverse_tau,
            losses.scale,
            losses.smoothing,
            losses.penalty,
            d_bias,
            self._work,
            normalize=losses.loss == "ce",
        )
        out["b2"].copy_(d_bias)
        torch.bmm(self._logits, self._activation, out=self._d_readout)
        out["W2"].copy_(self._d_readout.transpose(1, 2))
        torch.bmm(self._logits.transpose(1, 2), w2.transpose(1, 2), out=self._d_activation)
        kernels.hidden_backward(self._d_activation, self._slope, self._pairs, d_tables)
        torch.bmm(e.transpose(1, 2), d_tables[:, 0], out=out["W1"][:, :d])
        torch.bmm(e.transpose(1, 2), d_tables[:, 1], out=out["W1"][:, d:])
        torch.sum(d_tables[:, 1], 1, out=out["b1"])
        torch.bmm(d_tables[:, 0], w1[:, :d].transpose(1, 2), out=out["E"])
        out["E"].baddbmm_(d_tables[:, 1], w1[:, d:].transpose(1, 2))
