"""A stack of lanes: the tensors of L runs, and the one train step that moves them all.

One step is: gradient, Adam, decoupled decay of the matrices, clamp of the norm (protocol, Optimiser). For a clamped
lane decay and clamp together are one scaling to the held norm. What differs between lanes (tau, lr, decay, held norm,
step count) is a value in a tensor. Runs enter and leave only between steps, and no operation mixes lanes, so a lane's
numbers do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grok_sweeps.config import RunConfig
from grok_sweeps.train.data import labels, train_rows
from grok_sweeps.train.mlp import MlpGradient, MlpShape, initial_weights
from grok_sweeps.train.readings import read_lane

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
DTYPES = {"float32": torch.float32}
STATE_TENSORS = ("weights", "moment1", "moment2")


@dataclass
class LaneTensors:
    """State of one run outside the stack: flat weights and Adam moments, [M] each, and steps done."""

    weights: Tensor
    moment1: Tensor
    moment2: Tensor
    step: int = 0

    @classmethod
    def fresh(cls, config: RunConfig) -> LaneTensors:
        """State of a run before its first step."""
        weights = initial_weights(config).to(DTYPES[config.dtype])
        return cls(weights, torch.zeros_like(weights), torch.zeros_like(weights))


class LaneStack:
    """L runs of equal shape on one device.

    Args:
        configs: config of each lane.
        held_norms: norm each lane is clamped to, None for a free one.
        states: state of each lane; copied.
        device: where to train.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        held_norms: Sequence[float | None],
        states: Sequence[LaneTensors],
        device: torch.device,
    ) -> None:
        self.device = device
        self.dtype = DTYPES[configs[0].dtype]
        self.shape = MlpShape.of(configs[0])
        self.targets = labels(self.shape.p).to(device)
        self.steps: list[int] = []
        self._load(list(configs), list(held_norms), list(states))

    @property
    def n_lanes(self) -> int:
        """Number of lanes."""
        return len(self.configs)

    def rebuild(
        self, configs: Sequence[RunConfig], held_norms: Sequence[float | None], states: Sequence[LaneTensors]
    ) -> None:
        """Replace the lanes, which may change their number."""
        self._load(list(configs), list(held_norms), list(states))

    def state(self, lane: int) -> LaneTensors:
        """A copy of one lane's state on the CPU."""

        def copied(buffer: Tensor) -> Tensor:
            return buffer[lane].to("cpu", copy=True)

        return LaneTensors(copied(self._weights), copied(self._moment1), copied(self._moment2), step=self.steps[lane])

    def advance(self, n_steps: int) -> None:
        """Do `n_steps` train steps in every lane."""
        schedule = self._schedule(n_steps)
        for k in range(n_steps):
            self._step(*(part[k] for part in schedule))
        self.steps = [step + n_steps for step in self.steps]

    def read(self, lane: int) -> dict[str, float]:
        """Take one lane's readings; see `readings.read_lane`."""
        weights = {name: view[lane : lane + 1] for name, view in self._views.items()}
        return read_lane(weights, self.shape, self.targets, self._is_train[lane], self.configs[lane].tau)

    def _load(self, configs: list[RunConfig], held_norms: list[float | None], states: list[LaneTensors]) -> None:
        self.configs, self.held_norms = configs, held_norms
        self.steps = [state.step for state in states]
        self._weights = self._placed(torch.stack([s.weights for s in states]))
        self._moment1 = self._placed(torch.stack([s.moment1 for s in states]))
        self._moment2 = self._placed(torch.stack([s.moment2 for s in states]))
        self._gradient = torch.empty_like(self._weights)
        self._scratch = torch.empty_like(self._weights)
        self._views = self.shape.views(self._weights)
        self._gradient_views = self.shape.views(self._gradient)
        rows = torch.stack([train_rows(c) for c in configs]).to(self.device)
        self._is_train = torch.zeros(len(configs), self.shape.p**2, dtype=torch.bool, device=self.device)
        self._is_train.scatter_(1, rows, True)
        self._inverse_tau = self._placed(torch.tensor([1 / c.tau for c in configs])).view(-1, 1, 1)
        self._held = self._placed(torch.tensor([norm or 1.0 for norm in held_norms])).view(-1, 1)
        self._gradient_of = MlpGradient(self.shape, rows, self.targets[rows], self.dtype)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype)

    def _schedule(self, n_steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Per-step scalars of the next steps, each [n_steps, L, 1].

        Returns:
            -lr/(1 - beta1^t); 1/sqrt(1 - beta2^t); the decay factor 1 - lr*lambda; whether the norm is held.
        """
        t = np.asarray(self.steps)[None, :] + 1 + np.arange(n_steps)[:, None]  # [n_steps, L]
        lr = np.array([c.lr for c in self.configs])
        decay = np.array([1 - c.lr * c.weight_decay for c in self.configs])
        clamp_from = np.array([c.clamp_from_step or 0 for c in self.configs])
        clamped = np.array([norm is not None for norm in self.held_norms]) & (t >= clamp_from)

        def place(values: np.ndarray, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(values).to(self.device, dtype)[..., None]

        return (
            place(-lr / (1 - BETA1**t), self.dtype),
            place(1 / np.sqrt(1 - BETA2**t), self.dtype),
            place(np.broadcast_to(decay, t.shape).copy(), self.dtype),
            place(clamped, torch.bool),
        )

    def _step(self, minus_rate: Tensor, root_correction: Tensor, decay: Tensor, clamped: Tensor) -> None:
        self._gradient_of(self._views, self._inverse_tau, self._gradient_views)
        gradient, scratch = self._gradient, self._scratch
        self._moment1.lerp_(gradient, 1 - BETA1)
        self._moment2.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        torch.sqrt(self._moment2, out=scratch)
        scratch.mul_(root_correction).add_(EPSILON)
        torch.div(self._moment1, scratch, out=scratch)
        self._weights.addcmul_(scratch, minus_rate)
        matrices = self._weights[:, : self.shape.n_weights]
        norm = torch.linalg.vector_norm(matrices, dim=1, keepdim=True)
        matrices.mul_(torch.where(clamped, self._held / norm, decay))
