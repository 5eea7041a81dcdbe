"""One step of every engine against float64: how far its gradient and its weights are from the exact ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from grok_sweeps.config import RunConfig
from grok_sweeps.engines import ENGINES
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.lanes import DTYPES, LaneStack, LaneTensors
from grok_sweeps.train.network import network_of
from tests.bench.bench import Bench, attempt
from tests.bench.case import Case
from tests.bench.ours import config_of, joining
from tests.bench.tables import Cell, Table
from tests.bench.workers import Ready

LANES = 2


@dataclass(frozen=True)
class Errors:
    """Errors of one step and the engine that did it: over parameters, the largest difference over the largest value."""

    engine: str
    note: str | None
    gradient: float
    weights: float


def errors(ready: Ready, config: RunConfig, engine: str, device: torch.device, n_steps: int) -> Errors:
    """Train eagerly for `n_steps`, then take one step with `engine` and in float64 on the CPU from the same state."""
    cpu, configs = torch.device("cpu"), [replace(config, seed=k) for k in range(LANES)]
    begun = LaneStack([joining(c) for c in configs], choose_engine("eager", cpu))
    begun.advance(n_steps)
    states = [begun.state(lane) for lane in range(LANES)]
    resting = [LaneTensors(s.weights, 0 * s.moment1, 0 * s.moment2) for s in states]
    stack = LaneStack([joining(c) for c in configs], choose_engine(engine, device))
    for _ in range(2):  # a graph is captured when a number of steps comes again
        stack.advance(1)
    ready()
    doubles = [replace(c, dtype="float64") for c in configs]
    exact = LaneStack([joining(c) for c in doubles], choose_engine("eager", cpu))
    layout = network_of(config).layout

    def worst(start: Sequence[LaneTensors], name: str) -> float:
        """The error of tensor `name` of the states after a step from `start`."""
        ours, reference = (
            layout.views(_step(*both, name)) for both in ((stack, configs, start), (exact, doubles, start))
        )
        return max(float((ours[k] - reference[k]).abs().max() / reference[k].abs().max()) for k in reference)

    # From moments of zero the first moment after a step is the gradient times 1 - beta1.
    gradient, weights = worst(resting, "moment1"), worst(states, "weights")
    return Errors(stack.engine.name, stack.engine.note, gradient, weights)


def _step(stack: LaneStack, configs: Sequence[RunConfig], start: Sequence[LaneTensors], name: str) -> Tensor:
    """Take one step from `start`; a tensor of the states then, [L, M] in float64."""
    dtype = DTYPES[configs[0].dtype]
    own = [LaneTensors(s.weights.to(dtype), s.moment1.to(dtype), s.moment2.to(dtype), s.step) for s in start]
    stack.rearrange([joining(c, s) for c, s in zip(configs, own, strict=True)])
    stack.advance(1)
    return torch.stack([getattr(stack.state(lane), name).double() for lane in range(stack.n_lanes)])


def accuracy(bench: Bench, n_steps: int = 100) -> Table:
    """The table, for every engine of the device."""
    rows: list[tuple[Cell, ...]] = []
    for p in bench.effort.moduli:
        for engine in ENGINES[bench.device.type]:
            arguments = (config_of(Case(p, 1)), engine, bench.device, n_steps)
            found = attempt(partial(bench.workers.run, errors, *arguments, workers=1, threads=1, ours=True))
            if isinstance(found, str):
                rows.append((p, engine, found, None))
                continue
            (got,) = found
            taken = engine if got.engine == engine else f"{engine}: fell back to {got.engine} ({got.note})"
            rows.append((p, taken, got.gradient, got.weights))
    columns = ("p", "engine", "gradient", "weights after the step")
    note = (
        f"Largest error of one step from the state after {n_steps} steps, against the same step in float64: over the "
        "parameters, the largest difference over the largest value."
    )
    return Table("accuracy", "Accuracy of a step", columns, tuple(rows), note)
