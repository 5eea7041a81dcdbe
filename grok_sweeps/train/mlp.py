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
from grok_sweeps.train.network import Forward, Layout, LogitGradient, Network, Parameter, Weights, rows_of


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

    def gradient(self, dtype: torch.dtype, device: torch.device) -> MlpGradient:
        """The hand-derived gradient for one stack of lanes."""
        return MlpGradient(self, dtype, device)


class MlpGradient:
    """Loss gradient of L stacked networks on their own train pairs, into preallocated buffers."""

    def __init__(self, network: Mlp, dtype: torch.dtype, device: torch.device) -> None:
        self._network, self._dtype, self._device = network, dtype, device
        self._size = (0, 0)

    def set_pairs(self, a: Tensor, b: Tensor) -> None:
        """Train on the pairs (a, b), [L, N] each, from now on."""
        n_lanes, n = a.shape
        p = self._network.p
        table_row = torch.stack([a, b + p], dim=-1)  # [L, N, 2]: row a of table A, row b of table B
        table_row = table_row + (torch.arange(n_lanes, device=self._device) * 2 * p)[:, None, None]
        self._gather_a, self._gather_b = (column.flatten() for column in table_row.unbind(-1))
        flat = table_row.flatten()
        self._scatter = torch.argsort(flat, stable=True) // 2
        counts = torch.bincount(flat, minlength=n_lanes * 2 * p)
        self._scatter_offsets = counts.cumsum(0) - counts
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

    def __call__(self, weights: Weights, logit_gradient: LogitGradient, out: Weights) -> None:
        """Write the gradient at `weights` into `out`, same names and shapes."""
        p, d, h = self._network.p, self._network.d, self._network.h
        e, w1, w2 = weights["E"], weights["W1"], weights["W2"]
        tables, pre, act, d_act = self._tables, self._pre, self._activation, self._d_activation

        torch.bmm(e, w1[:, :d], out=tables[:, :p])
        torch.bmm(e, w1[:, d:], out=tables[:, p:])
        tables[:, p:].add_(weights["b1"][:, None])
        rows = tables.view(-1, h)
        torch.index_select(rows, 0, self._gather_a, out=pre.view(-1, h))
        torch.index_select(rows, 0, self._gather_b, out=d_act.view(-1, h))
        pre.add_(d_act)
        torch.ops.aten.gelu.out(pre, out=act)
        torch.baddbmm(weights["b2"][:, None], act, w2, out=self._logits)
        dz = logit_gradient(self._logits)

        torch.bmm(act.transpose(1, 2), dz, out=out["W2"])
        torch.sum(dz, 1, out=out["b2"])
        torch.bmm(dz, w2.transpose(1, 2), out=d_act)
        torch.ops.aten.gelu_backward.grad_input(d_act, pre, grad_input=act)  # act now holds dLoss/dpre
        d_tables = F.embedding_bag(self._scatter, act.view(-1, h), self._scatter_offsets, mode="sum")
        d_tables = d_tables.view_as(tables)
        torch.bmm(e.transpose(1, 2), d_tables[:, :p], out=out["W1"][:, :d])
        torch.bmm(e.transpose(1, 2), d_tables[:, p:], out=out["W1"][:, d:])
        torch.sum(d_tables[:, p:], 1, out=out["b1"])
        torch.bmm(d_tables[:, :p], w1[:, :d].transpose(1, 2), out=out["E"])
        out["E"].baddbmm_(d_tables[:, p:], w1[:, d:].transpose(1, 2))
