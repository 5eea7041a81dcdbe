"""The `mlp` architecture: its parameters, its logits, and what its tables give and take.

Network (arXiv:2606.18465): shared embedding E [P, D]; hidden layer on the concatenation [E[a], E[b]] with W1 [2D, H],
b1 [H] and exact GELU; readout W2 [H, P], b2 [P]. The hidden layer of a pair is `E[a] W1[:D] + E[b] W1[D:] + b1`, which
is two [P, H] tables and a gather, the same function at a fraction of the arithmetic. `mlp_gradients` holds the loss
gradient, derived by hand. Every product is batched over lanes, and no operation mixes lanes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_sweeps.config import RunConfig
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.losses import LogitGradients
from grok_sweeps.train.mlp_gradients import mlp_gradient
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

    def write_table_gradient(self, weights: Weights, d_tables: Tensor, out: Weights) -> None:
        """From the gradient of what `write_tables` wrote to that of the embedding and the hidden layer."""
        d, e, w1 = self.d, weights["E"], weights["W1"]
        torch.bmm(e.transpose(1, 2), d_tables[:, 0], out=out["W1"][:, :d])
        torch.bmm(e.transpose(1, 2), d_tables[:, 1], out=out["W1"][:, d:])
        torch.sum(d_tables[:, 1], 1, out=out["b1"])
        torch.bmm(d_tables[:, 0], w1[:, :d].transpose(1, 2), out=out["E"])
        out["E"].baddbmm_(d_tables[:, 1], w1[:, d:].transpose(1, 2))

    def everywhere(self, weights: Weights, view: View, engine: Engine) -> Everywhere:
        """See `Network`; in a kernel, where the engine has one and the pairs are all of them in order."""
        readout, n_pairs = (weights["W2"], weights["b2"]), self.p**2
        whole = len(view.pairs.a) == n_pairs and view.normalizer == "softmax"
        kernels = engine.kernels_for(readout[0].dtype, self.n_classes)
        if kernels is None or not whole:
            return super().everywhere(weights, view, engine)
        n_lanes, device = len(view.inverse_tau), readout[0].device
        tables = torch.empty(n_lanes, 2, self.p, self.h, device=device)
        self.write_tables(weights, tables)
        of_pairs = torch.empty(n_lanes, 5, n_pairs, device=device)
        of_units = torch.empty(2, n_lanes, dtype=torch.float64, device=device)
        kernels.mlp_everywhere(
            tables, readout, view.pairs.target.int(), view.inverse_tau, view.limit, of_pairs, of_units
        )
        return Everywhere(*of_pairs.unbind(1), *of_units)

    def gradient(self, losses: LogitGradients, engine: Engine) -> GradientOf:
        """The hand-derived gradient of one stack of lanes, in kernels where the engine has them."""
        return mlp_gradient(self, losses, engine)
