"""The `mlp` architecture: its parameters, and its loss gradient derived by hand.

Network (arXiv:2606.18465): shared embedding E [P, D]; hidden layer on the concatenation [E[a], E[b]] with W1 [2D, H],
b1 [H] and exact GELU; readout W2 [H, P], b2 [P]. The hidden layer of a pair is `E[a] W1[:D] + E[b] W1[D:] + b1`, which
is two [P, H] tables and a gather, the same function at a fraction of the arithmetic.

The backward pass is written out so that it needs train rows only, no graph and no allocation of large buffers. Its
agreement with autograd in float64 on the textbook form is a test. Every product is batched over lanes, and no operation
mixes lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_sweeps.config import RunConfig


@dataclass(frozen=True, slots=True)
class MlpShape:
    """Sizes of one network, and where each parameter lies in the flat vector: matrices first, then biases."""

    p: int
    d: int
    h: int

    @classmethod
    def of(cls, config: RunConfig) -> MlpShape:
        """The sizes a run's config asks for."""
        return cls(config.p, config.d_model, config.hidden)

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Shape by name, in flat order."""
        return {
            "E": (self.p, self.d),
            "W1": (2 * self.d, self.h),
            "W2": (self.h, self.p),
            "b1": (self.h,),
            "b2": (self.p,),
        }

    @property
    def n_weights(self) -> int:
        """Length of the leading part of the flat vector that decays and counts in the norm: the matrices."""
        return self.p * self.d + 2 * self.d * self.h + self.h * self.p

    @property
    def n_parameters(self) -> int:
        """M, the length of the flat vector."""
        return self.n_weights + self.h + self.p

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of the parameters in `flat` [L, M], each with L leading."""
        views, start = {}, 0
        for name, size in self.sizes.items():
            n = torch.Size(size).numel()
            views[name] = flat[:, start : start + n].view(-1, *size)
            start += n
        return views


def initial_weights(config: RunConfig) -> Tensor:
    """Flat initial parameters of one run, [M] float32: N(0, 1)/sqrt(fan_in), biases 0.

    `seeding: run` draws the run's own tensors from a CPU generator seeded with its seed. `seeding: paper` draws the
    tensors of all `seeds_in_block` seeds together, each kind in turn from one generator seeded with 0, and takes slice
    `seed` (protocol, Seeding).
    """
    shape = MlpShape.of(config)
    fan_in = {"E": shape.d, "W1": 2 * shape.d, "W2": shape.h}
    if config.seeding == "paper":
        block, index, generator = config.seeds_in_block or 1, config.seed, torch.Generator().manual_seed(0)
    else:
        block, index, generator = 1, 0, torch.Generator().manual_seed(config.seed)
    flat = torch.zeros(1, shape.n_parameters)
    for name, view in shape.views(flat).items():
        if name in fan_in:
            drawn = torch.randn(block, *shape.sizes[name], generator=generator)
            view[0] = drawn[index] / fan_in[name] ** 0.5
    return flat[0]


class MlpGradient:
    """Cross-entropy gradient of L stacked networks on their own train rows, into preallocated buffers.

    Args:
        shape: sizes of one network.
        rows: train pair indices, [L, N].
        targets: their classes, [L, N].
    """

    def __init__(self, shape: MlpShape, rows: Tensor, targets: Tensor, dtype: torch.dtype) -> None:
        self.shape = shape
        n_lanes, n = rows.shape
        p, h, device = shape.p, shape.h, rows.device
        table_row = torch.stack([rows // p, rows % p + p], dim=-1)  # [L, N, 2]: row a of table A, row b of table B
        table_row = table_row + (torch.arange(n_lanes, device=device) * 2 * p)[:, None, None]
        self._gather_a, self._gather_b = (column.flatten() for column in table_row.unbind(-1))
        flat = table_row.flatten()
        self._scatter = torch.argsort(flat, stable=True) // 2
        counts = torch.bincount(flat, minlength=n_lanes * 2 * p)
        self._scatter_offsets = counts.cumsum(0) - counts
        self._target = (torch.arange(n_lanes * n, device=device) * p) + targets.flatten()
        self._minus_one = torch.full((n_lanes * n,), -1.0, dtype=dtype, device=device)

        def buffer(*size: int) -> Tensor:
            return torch.empty(n_lanes, *size, dtype=dtype, device=device)

        self._tables = buffer(2 * p, h)
        self._pre, self._activation, self._d_activation = buffer(n, h), buffer(n, h), buffer(n, h)
        self._logits = buffer(n, p)

    def __call__(self, weights: dict[str, Tensor], inverse_tau: Tensor, out: dict[str, Tensor]) -> None:
        """Write the gradient of the mean cross-entropy of logits/tau into `out`.

        Args:
            weights: parameters by name, each [L, ...].
            inverse_tau: 1/tau, [L, 1, 1].
            out: where the gradients go, same names and shapes.
        """
        p, d, n = self.shape.p, self.shape.d, self._activation.shape[1]
        e, w1, w2 = weights["E"], weights["W1"], weights["W2"]
        tables, pre, act, d_act, z = self._tables, self._pre, self._activation, self._d_activation, self._logits

        torch.bmm(e, w1[:, :d], out=tables[:, :p])
        torch.bmm(e, w1[:, d:], out=tables[:, p:])
        tables[:, p:].add_(weights["b1"][:, None])
        rows = tables.view(-1, self.shape.h)
        torch.index_select(rows, 0, self._gather_a, out=pre.view(-1, self.shape.h))
        torch.index_select(rows, 0, self._gather_b, out=d_act.view(-1, self.shape.h))
        pre.add_(d_act)
        torch.ops.aten.gelu.out(pre, out=act)
        torch.baddbmm(weights["b2"][:, None], act, w2, out=z)
        z.mul_(inverse_tau)
        torch.softmax(z, -1, out=z)
        z.view(-1).index_add_(0, self._target, self._minus_one)
        z.mul_(inverse_tau / n)  # dLoss/dlogits

        torch.bmm(act.transpose(1, 2), z, out=out["W2"])
        torch.sum(z, 1, out=out["b2"])
        torch.bmm(z, w2.transpose(1, 2), out=d_act)
        torch.ops.aten.gelu_backward.grad_input(d_act, pre, grad_input=act)  # act now holds dLoss/dpre
        d_tables = F.embedding_bag(self._scatter, act.view(-1, self.shape.h), self._scatter_offsets, mode="sum")
        d_tables = d_tables.view_as(tables)
        torch.bmm(e.transpose(1, 2), d_tables[:, :p], out=out["W1"][:, :d])
        torch.bmm(e.transpose(1, 2), d_tables[:, p:], out=out["W1"][:, d:])
        torch.sum(d_tables[:, p:], 1, out=out["b1"])
        torch.bmm(d_tables[:, :p], w1[:, :d].transpose(1, 2), out=out["E"])
        out["E"].baddbmm_(d_tables[:, p:], w1[:, d:].transpose(1, 2))


def all_logits(weights: dict[str, Tensor], shape: MlpShape) -> Tensor:
    """Logits of every pair before the temperature, [L, P², P]."""
    p, d = shape.p, shape.d
    a = torch.bmm(weights["E"], weights["W1"][:, :d])
    b = torch.bmm(weights["E"], weights["W1"][:, d:]) + weights["b1"][:, None]
    hidden = F.gelu(a[:, :, None] + b[:, None]).view(-1, p * p, shape.h)
    return torch.baddbmm(weights["b2"][:, None], hidden, weights["W2"])
