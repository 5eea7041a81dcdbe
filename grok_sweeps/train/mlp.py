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
from grok_sweeps.train.network import (
    Everywhere,
    Forward,
    GradientOf,
    Layout,
    Network,
    Parameter,
    View,
    Weights,
    rows_of,
)
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

    def write_tables(self, weights: Weights, out: Tensor) -> None:
        """Write what each residue gives to the hidden layer as first and as second operand, [L, 2, P, H]."""
        e, w1 = weights["E"], weights["W1"]
        torch.bmm(e, w1[:, : self.d], out=out[:, 0])
        torch.bmm(e, w1[:, self.d :], out=out[:, 1])
        out[:, 1].add_(weights["b1"][:, None])

    def tables(self, weights: Weights) -> Weights:
        """See `Network`; built without writing into anything, for autograd."""
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

    def everywhere(self, weights: Weights, view: View, engine: Engine) -> Everywhere:
        """See `Network`; in the compiled kernel, where the engine has it and the pairs are all of them in order."""
        readout, n_pairs = (weights["W2"], weights["b2"]), self.p**2
        whole = len(view.pairs.a) == n_pairs and view.normalizer == "softmax"
        if engine.kernels is None or readout[0].dtype != torch.float32 or not whole:
            return super().everywhere(weights, view, engine)
        n_lanes = len(view.inverse_tau)
        tables = torch.empty(n_lanes, 2, self.p, self.h)
        self.write_tables(weights, tables)
        of_pairs, of_units = torch.empty(n_lanes, 4, n_pairs), torch.empty(2, n_lanes, dtype=torch.float64)
        scratch = torch.empty(engine.kernels.mlp_scratch(self.p, self.h, self.n_classes))
        targets = view.pairs.target.int()
        engine.kernels.mlp_everywhere(
            tables, readout, targets, view.inverse_tau, view.limit, of_pairs, of_units, scratch
        )
        return Everywhere(*of_pairs.unbind(1), *of_units)

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

        self._network.write_tables(weights, tables.view(-1, 2, p, h))
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


class NativeMlpGradient:
    """The same gradient with all that grows with the pairs in one compiled kernel, float32 on the CPU.

    What is left to torch are the six products with the tables, which cost a tenth of it.
    """

    def __init__(self, network: Mlp, losses: LogitGradients, kernels: Kernels) -> None:
        self._network, self._losses, self._kernels = network, losses, kernels
        self._scratch = torch.empty(kernels.mlp_scratch(network.p, network.h, network.n_classes))
        n_lanes = len(losses.scale)
        self._tables, self._d_tables = torch.empty(2, n_lanes, 2, network.p, network.h).unbind()

    def set_pairs(self, a: Tensor, b: Tensor, targets: Tensor) -> None:
        """See `GradientOf`."""
        self._pairs = torch.stack([a, b], dim=-1).int()
        self._targets = targets.int()

    def __call__(self, weights: Weights, out: Weights) -> None:
        """Write the gradient at `weights` into `out`, same names and shapes."""
        d, losses = self._network.d, self._losses
        e, w1 = weights["E"], weights["W1"]
        tables, d_tables = self._tables, self._d_tables
        self._network.write_tables(weights, tables)
        self._kernels.mlp_gradient(
            tables,
            (weights["W2"], weights["b2"]),
            self._pairs,
            self._targets,
            (losses.inverse_tau, losses.scale, losses.smoothing, losses.penalty),
            d_tables,
            (out["W2"], out["b2"]),
            self._scratch,
            normalize=losses.loss == "ce",
        )
        torch.bmm(e.transpose(1, 2), d_tables[:, 0], out=out["W1"][:, :d])
        torch.bmm(e.transpose(1, 2), d_tables[:, 1], out=out["W1"][:, d:])
        torch.sum(d_tables[:, 1], 1, out=out["b1"])
        torch.bmm(d_tables[:, 0], w1[:, :d].transpose(1, 2), out=out["E"])
        out["E"].baddbmm_(d_tables[:, 1], w1[:, d:].transpose(1, 2))
