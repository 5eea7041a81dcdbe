"""A stack of lanes: the tensors of L runs, and the one train step that moves them all.

What differs between lanes (tau, lr, decay, held norm, step count) is a value in a tensor. Runs enter and leave only
between steps, and no operation mixes lanes, so a lane's numbers do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grok_sweeps.arms import Held
from grok_sweeps.config import RunConfig
from grok_sweeps.train.data import BatchOrder, PairTensors, train_rows
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.graph import StepGraphs
from grok_sweeps.train.losses import LogitGradients
from grok_sweeps.train.network import network_of
from grok_sweeps.train.optimizers import Buffers, Optimizer, StepValues
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


@dataclass(frozen=True)
class Joining:
    """A run as it takes a lane: its config, the norms it is held at (None: free) and its state, which is copied."""

    config: RunConfig
    held: Held | None
    state: LaneTensors


class LaneStack:
    """L runs of equal shape, trained together by one engine.

    Tensors keep their place when a run takes over a lane of another, so that a captured CUDA graph stays valid.
    """

    def __init__(self, runs: Sequence[Joining], engine: Engine) -> None:
        self.engine = engine
        self._buffers: Buffers
        self._optimizer: Optimizer
        self._losses: LogitGradients
        self._network = network_of(runs[0].config)
        self._pairs = PairTensors.of(runs[0].config, engine.device)
        self._runs: list[tuple[RunConfig, Held | None]] = []
        self.steps: list[int] = []
        self.rearrange(runs)

    @property
    def n_lanes(self) -> int:
        """Number of lanes."""
        return len(self.steps)

    @property
    def lanes_a_reading(self) -> int:
        """Lanes whose readings are taken at once."""
        return self.engine.lanes_a_reading(len(self._pairs.a) * self._runs[0][0].hidden)

    def state(self, lane: int) -> LaneTensors:
        """A copy of one lane's state on the CPU."""
        copied = {name: getattr(self._buffers, name)[lane].to("cpu", copy=True) for name in STATE_TENSORS}
        return LaneTensors(**copied, step=self.steps[lane])

    def rearrange(self, places: Sequence[int | Joining]) -> None:
        """Become a stack of lanes of this one, each by its number, and of runs that join."""
        in_place = len(places) == self.n_lanes and all(p == k for k, p in enumerate(places) if isinstance(p, int))
        if not in_place:
            self._move([place if isinstance(place, int) else 0 for place in places], places[0])
        runs, steps = [], []
        for lane, place in enumerate(places):
            if isinstance(place, int):
                runs.append(self._runs[place])
                steps.append(self.steps[place])
            else:
                for name in STATE_TENSORS:
                    getattr(self._buffers, name)[lane].copy_(getattr(place.state, name))
                runs.append((place.config, place.held))
                steps.append(place.state.step)
        self._runs, self.steps = runs, steps
        self._configure(anew=not in_place)

    def advance(self, n_steps: int) -> None:
        """Do `n_steps` train steps in every lane."""
        values = self._optimizer.schedule(self.steps, n_steps)
        if self._graphs is not None:
            self._graphs.train(values, self._train)
            if self._graphs.failed and self.engine.captures:
                self.engine = self.engine.without_graphs(self._graphs.failed)
        else:
            self._train(values)
        self.steps = [step + n_steps for step in self.steps]

    def read(self, lanes: Sequence[int]) -> list[dict[str, float]]:
        """Take the readings of some lanes after the steps just done; see `readings`."""
        at_once = self.lanes_a_reading
        chunks = [lanes[k : k + at_once] for k in range(0, len(lanes), at_once)]
        return [values for chunk in chunks for values in self._read(chunk)]

    def _move(self, source: Sequence[int], first: int | Joining) -> None:
        """Give the stack new tensors, one lane for each of `source`, whose state it takes over."""
        device = self.engine.device
        if self.n_lanes:
            index = torch.tensor(source, device=device)
            moved = [getattr(self._buffers, name).index_select(0, index) for name in STATE_TENSORS]
        else:
            assert isinstance(first, Joining)
            size = (len(source), self._network.layout.n_parameters)
            moved = [torch.zeros(size, dtype=DTYPES[first.config.dtype], device=device) for _ in STATE_TENSORS]
        layout, (weights, moment1, moment2) = self._network.layout, moved
        self._buffers = Buffers(weights, moment1, moment2, torch.zeros_like(weights), torch.zeros_like(weights))
        self._weights, self._gradient = layout.views(weights), layout.views(self._buffers.gradient)
        self._before = torch.empty_like(weights[:, : layout.n_weights])

    def _configure(self, *, anew: bool) -> None:
        """Set what steps and readings need to know of the lanes' configs; where it can, in the tensors in use."""
        configs = [config for config, _ in self._runs]
        like, device, first = self._buffers.weights, self.engine.device, configs[0]
        optimizer = Optimizer(configs, [held for _, held in self._runs], self._network.layout, like, self.engine)
        losses = LogitGradients(configs, first.n_batch, self._network.n_classes, like.dtype, device)
        if anew or not (self._optimizer.take(optimizer) and self._losses.take(losses)):
            self._optimizer, self._losses = optimizer, losses
            self._gradient_of = self._network.gradient(losses, self.engine)
            captures = self.engine.captures and first.batch_size is None  # batches are chosen on the host
            self._graphs = StepGraphs() if captures else None
        self._inverse_tau = torch.tensor([1 / c.tau for c in configs], dtype=like.dtype, device=device)
        rows = torch.stack([train_rows(c) for c in configs])
        self._is_train = torch.zeros(len(configs), len(self._pairs.a), dtype=torch.bool, device=device)
        self._is_train.scatter_(1, rows.to(device), True)
        self._batches = None
        if first.batch_size is None:
            self._set_rows(rows)
        else:
            self._batches = [BatchOrder(c.seed, r, first.n_batch) for c, r in zip(configs, rows, strict=True)]

    def _train(self, schedule: StepValues) -> None:
        """The steps of a schedule."""
        for k in range(schedule.n_steps):
            if self._batches is not None:
                pairs = zip(self._batches, self.steps, strict=True)
                self._set_rows(torch.stack([order.at(step + k + 1) for order, step in pairs]))
            if k == schedule.n_steps - 1:
                self._before.copy_(self._buffers.weights[:, : self._before.shape[1]])
            self._gradient_of(self._weights, self._gradient)
            self._optimizer.step(self._buffers, schedule.of_step(k))

    def _set_rows(self, rows: Tensor) -> None:
        """Train on the pairs at `rows` [L, N] from now on."""
        rows = rows.to(self.engine.device)
        self._gradient_of.set_pairs(self._pairs.a[rows], self._pairs.b[rows], self._pairs.target[rows])

    def _read(self, lanes: Sequence[int]) -> list[dict[str, float]]:
        n = self._before.shape[1]
        pick: Any = slice(lanes[0], lanes[-1] + 1)  # without a copy, where the lanes are neighbours
        if len(lanes) != lanes[-1] + 1 - lanes[0]:
            pick = torch.tensor(lanes, device=self.engine.device)
        return take_readings(
            Probe(
                self._runs[lanes[0]][0],
                self._network,
                {name: view[pick] for name, view in self._weights.items()},
                self._pairs,
                self._inverse_tau[pick],
                self._is_train[pick],
                before=self._before[pick],
                after=self._buffers.weights[pick, :n],
                gradient=self._buffers.gradient[pick, :n],
                engine=self.engine,
            )
        )
