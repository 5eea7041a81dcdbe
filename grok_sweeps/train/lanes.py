"""A stack of lanes: the tensors of L runs, and the one train step that moves them all.

What differs between lanes (tau, lr, decay, held norm, step count) is a value in a tensor. Runs enter and leave only
between steps, and no operation mixes lanes, so a lane's numbers do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grok_sweeps.arms import Held
from grok_sweeps.config import RunConfig
from grok_sweeps.train.data import BatchOrder, PairTensors, train_rows
from grok_sweeps.train.losses import LogitGradients
from grok_sweeps.train.network import network_of
from grok_sweeps.train.optimizers import Buffers, Optimizer
from grok_sweeps.train.readings import Probe, take_readings

DTYPES = {"float32": torch.float32, "float64": torch.float64}
STATE_TENSORS = ("weights", "moment1", "moment2")


@dataclass
class LaneTensors:
    """State of one run outside the stack: flat weights and optimiser moments, [M] each, and steps done."""

    weights: Tensor
    moment1: Tensor
    moment2: Tensor
    step: int = 0

    @classmethod
    def fresh(cls, config: RunConfig) -> LaneTensors:
        """State of a run before its first step. Both precisions start from the same float32 numbers."""
        weights = network_of(config).layout.initial(config).to(DTYPES[config.dtype])
        return cls(weights, torch.zeros_like(weights), torch.zeros_like(weights))


class LaneStack:
    """L runs of equal shape on one device.

    Args:
        configs: config of each lane.
        held: norms each lane is held at, None for a free one.
        states: state of each lane; copied.
        device: where to train.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        held: Sequence[Held | None],
        states: Sequence[LaneTensors],
        device: torch.device,
    ) -> None:
        self.configs, self.device = list(configs), device
        self.steps = [state.step for state in states]
        self._network = network_of(configs[0])
        self._pairs = PairTensors.of(configs[0], device)
        layout, dtype = self._network.layout, DTYPES[configs[0].dtype]
        weights, moment1, moment2 = (
            torch.stack([getattr(s, name) for s in states]).to(device, dtype) for name in STATE_TENSORS
        )
        self._buffers = Buffers(weights, moment1, moment2, torch.empty_like(weights), torch.empty_like(weights))
        self._weights = layout.views(weights)
        self._gradient = layout.views(self._buffers.gradient)
        self._before = torch.empty_like(weights[:, : layout.n_weights])
        self._optimizer = Optimizer(self.configs, held, layout, weights)

        rows = torch.stack([train_rows(c) for c in configs])
        self._is_train = torch.zeros(len(configs), len(self._pairs.a), dtype=torch.bool, device=device)
        self._is_train.scatter_(1, rows.to(device), True)
        n_batch = configs[0].n_batch
        self._logit_gradients = LogitGradients(self.configs, n_batch, self._network.n_classes, dtype, device)
        self._gradient_of = self._network.gradient(dtype, device)
        self._batches: list[BatchOrder] | None = None
        if configs[0].batch_size is None:
            self._set_rows(rows)
        else:
            self._batches = [BatchOrder(c.seed, r, n_batch) for c, r in zip(configs, rows, strict=True)]

    @property
    def n_lanes(self) -> int:
        """Number of lanes."""
        return len(self.configs)

    def state(self, lane: int) -> LaneTensors:
        """A copy of one lane's state on the CPU."""
        copied = {name: getattr(self._buffers, name)[lane].to("cpu", copy=True) for name in STATE_TENSORS}
        return LaneTensors(**copied, step=self.steps[lane])

    def advance(self, n_steps: int) -> None:
        """Do `n_steps` train steps in every lane."""
        for k, values in enumerate(self._optimizer.schedule(self.steps, n_steps)):
            if self._batches is not None:
                pairs = zip(self._batches, self.steps, strict=True)
                self._set_rows(torch.stack([order.at(step + k + 1) for order, step in pairs]))
            if k == n_steps - 1:
                self._before.copy_(self._buffers.weights[:, : self._before.shape[1]])
            self._gradient_of(self._weights, self._logit_gradients, self._gradient)
            self._optimizer.step(self._buffers, values)
        self.steps = [step + n_steps for step in self.steps]

    def read(self, lane: int) -> dict[str, float]:
        """Take one lane's readings after the steps just done; see `readings`."""
        n = self._before.shape[1]
        return take_readings(
            Probe(
                self.configs[lane],
                self._network,
                {name: view[lane : lane + 1] for name, view in self._weights.items()},
                self._pairs,
                self._is_train[lane],
                before=self._before[lane],
                after=self._buffers.weights[lane, :n],
                gradient=self._buffers.gradient[lane, :n],
            )
        )

    def _set_rows(self, rows: Tensor) -> None:
        """Train on the pairs at `rows` [L, N] from now on."""
        rows = rows.to(self.device)
        self._gradient_of.set_pairs(self._pairs.a[rows], self._pairs.b[rows])
        self._logit_gradients.set_targets(self._pairs.target[rows])
