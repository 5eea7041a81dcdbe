"""What every contender of the engine's bench trains, from the protocol (arXiv:2606.18465)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

D_MODEL, HIDDEN, TRAIN_FRACTION = 128, 256, 0.40
LR, WEIGHT_DECAY, BETA1, BETA2, EPSILON = 1e-3, 1.0, 0.9, 0.999, 1e-8
MATRICES = ("E", "W1", "W2")
"""Parameters that decay and count in the weight norm."""
W_C = {59: 54.4893, 97: 65.8533}
"""The paper's norms at which the control groks, by modulus."""


@dataclass(frozen=True)
class Contender:
    """A training under way: `train(n)` does n steps of every run and ends only when they are done.

    `weights()` gives the parameters by name, [S, ...] each, float32 on the CPU.
    """

    train: Callable[[int], None]
    weights: Callable[[], dict[str, Tensor]]


@dataclass(frozen=True)
class Case:
    """`seeds` clamped runs of the MLP on addition modulo p, held at the control's norm from the first step."""

    p: int
    seeds: int
    tau: float = 1.0

    @property
    def norm(self) -> float:
        """The norm that is held."""
        return W_C.get(self.p, W_C[59])

    @property
    def n_pairs(self) -> int:
        """All ordered pairs."""
        return self.p**2

    @property
    def n_train(self) -> int:
        """Train pairs of a run."""
        return int(TRAIN_FRACTION * self.n_pairs)

    @property
    def step_flops(self) -> float:
        """Arithmetic a run-step needs: two tables and the readout on train rows, forward and twice backward."""
        return 3.0 * 2.0 * (2 * self.p * D_MODEL * HIDDEN + self.n_train * HIDDEN * self.p)

    def parameters(self, seed: int) -> dict[str, Tensor]:
        """Initial parameters of one run, float32 on the CPU."""
        g, p, d, h = torch.Generator().manual_seed(seed), self.p, D_MODEL, HIDDEN
        return {
            "E": torch.randn(p, d, generator=g) / d**0.5,
            "W1": torch.randn(2 * d, h, generator=g) / (2 * d) ** 0.5,
            "W2": torch.randn(h, p, generator=g) / h**0.5,
            "b1": torch.zeros(h),
            "b2": torch.zeros(p),
        }

    def train_rows(self, seed: int) -> Tensor:
        """Positions a·p + b of one run's train pairs, ascending."""
        g = torch.Generator().manual_seed(1000 + seed)
        return torch.randperm(self.n_pairs, generator=g)[: self.n_train].sort().values

    def stacked(self, device: torch.device) -> dict[str, Tensor]:
        """Initial parameters of all runs, seeds leading."""
        runs = [self.parameters(seed) for seed in range(self.seeds)]
        return {name: torch.stack([run[name] for run in runs]).to(device) for name in runs[0]}
