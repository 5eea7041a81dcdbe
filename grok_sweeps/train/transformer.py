"""The `transformer_no_layernorm` architecture, and `transformer` with LayerNorm (arXiv:2606.18465, arXiv:2606.13753).

One block on the tokens (a, b, =): embedding E [P + 1, D], learned positions [3, D], attention with `heads` heads, an
MLP of width H with exact GELU, residual connections, no biases, logits over C classes at the last position. LayerNorm,
where there is one, stands before attention, MLP and readout, with gain and bias. `architectures.is_as_released` says
where positions start at 1/√D and C = P; elsewhere they start at 0.1/√D, and C = P + 1.

Only the last position is read, and what a token gives to attention depends on the token and its position alone. So the
query is one vector, keys and values are two tables of P rows and a vector, and a pair costs a gather, a softmax over
three tokens, the output matrix and the MLP: the same function as three full positions, at a third of the arithmetic.

Shapes: L lanes, N pairs, P residues, C classes, D width, A heads, K = D / A, H hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_sweeps.architectures import is_as_released, transformer_classes
from grok_sweeps.config import RunConfig
from grok_sweeps.train.network import Forward, Layout, Network, Parameter, Weights, rows_of

N_POSITIONS = 3


class TransformerNoLayerNorm(Network):
    """One block without any normalisation."""

    def __init__(self, config: RunConfig) -> None:
        self.p, self.d, self.h = config.p, config.d_model, config.hidden
        self.heads = config.heads or 1
        self.n_classes = transformer_classes(config)
        self._position_scale = 1 if is_as_released(config) else 10
        self.layout = Layout((*self._weights(), *self._gains()))

    def _weights(self) -> tuple[Parameter, ...]:
        d, root = self.d, self.d**0.5
        return (
            Parameter("E", (self.p + 1, d), "embedding", root),
            Parameter("position", (N_POSITIONS, d), "position", self._position_scale * root),
            *(Parameter(name, (d, d), "attention", root) for name in ("Q", "K", "V", "O")),
            Parameter("W_in", (d, self.h), "hidden", root),
            Parameter("W_out", (self.h, d), "hidden", self.h**0.5),
            Parameter("W_U", (d, self.n_classes), "readout", root),
        )

    def _gains(self) -> tuple[Parameter, ...]:
        return ()

    def _normalized(self, x: Tensor, weights: Weights, name: str) -> Tensor:  # noqa: ARG002
        return x

    def tables(self, weights: Weights) -> Weights:
        """Attention scores [L, P, A] and values [L, P, D] of each token at each position, and what comes after them."""
        tokens, position = weights["E"][:, : self.p], weights["position"]
        equals = (weights["E"][:, self.p] + position[:, 2])[:, None]  # [L, 1, D]
        streams = (tokens + position[:, :1], tokens + position[:, 1:2], equals)  # what stands at each position
        places = [self._normalized(x, weights, "attention") for x in streams]
        query = self._split(torch.bmm(places[2], weights["Q"]))  # [L, 1, A, K]
        tables = {**weights, "equals": equals}
        for k, x in enumerate(places):
            tables[f"score{k}"] = (self._split(torch.bmm(x, weights["K"])) * query).sum(-1)
            tables[f"value{k}"] = torch.bmm(x, weights["V"])
        return tables

    def forward(self, tables: Weights, a: Tensor, b: Tensor) -> Forward:
        """Logits before the temperature [L, N, C] and pre-activations [L, N, H] of the pairs (a, b), [L, N] each."""
        index = (a, b, torch.zeros_like(a))
        scores = [rows_of(tables[f"score{k}"], index[k]) for k in range(N_POSITIONS)]
        values = [self._split(rows_of(tables[f"value{k}"], index[k])) for k in range(N_POSITIONS)]
        attention = torch.softmax(torch.stack(scores, -1) / (self.d // self.heads) ** 0.5, -1)  # [L, N, A, 3]
        mixed = attention[..., 0, None] * values[0]
        for k in (1, 2):
            mixed = mixed + attention[..., k, None] * values[k]
        stream = tables["equals"] + torch.bmm(mixed.flatten(2), tables["O"])
        pre = torch.bmm(self._normalized(stream, tables, "mlp"), tables["W_in"])
        stream = torch.baddbmm(stream, F.gelu(pre), tables["W_out"])
        return Forward(torch.bmm(self._normalized(stream, tables, "readout"), tables["W_U"]), pre)

    def _split(self, x: Tensor) -> Tensor:
        """[L, n, D] as [L, n, A, K]."""
        return x.view(*x.shape[:-1], self.heads, self.d // self.heads)


class Transformer(TransformerNoLayerNorm):
    """The same block with LayerNorm before attention, MLP and readout."""

    def _gains(self) -> tuple[Parameter, ...]:
        names = [f"{part}_{where}" for where in ("attention", "mlp", "readout") for part in ("gain", "shift")]
        return tuple(Parameter(n, (self.d,), constant=float(n.startswith("gain"))) for n in names)

    def _normalized(self, x: Tensor, weights: Weights, name: str) -> Tensor:
        gain, shift = weights[f"gain_{name}"][:, None], weights[f"shift_{name}"][:, None]
        return F.layer_norm(x, (self.d,)) * gain + shift
