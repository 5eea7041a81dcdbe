"""One step of every engine against float64: how far its gradient and its weights are from the exact ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from grok_sweeps.config import RunConfig
from grok_sweeps.engines import ENGINES
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.lanes import LaneStack, LaneTensors
from grok_sweeps.train.network import network_of
from tests.bench.bench import Bench, attempt
from tests.bench.case import BETA1, Case
from tests.bench.ours import config_of, joining
from tests.bench.tables import Cell, Table
from tests.bench.workers import Ready

LANES = 2


def errors(
    ready: Ready, config: RunConfig, engine: str, device: torch.device, n_steps: int
) -> tuple[str, str | None, float, float]:
    """Train eagerly for `n_steps`, then take one step with `engine` and in float64 on the CPU from the same state.

    Returns the engine that was at work, its note, and the largest error of the gradient and of the weights: over
    parameters, the largest difference over the largest exact value.
    """
    cpu = torch.device("cpu")
    configs = [replace(config, seed=k) for k in range(LANES)]
    start = LaneStack([joining(c) for c in configs], choose_engine("eager", cpu))
    start.advance(n_steps)
    states = [start.state(lane) for lane in range(LANES)]
    exact = [replace(c, dtype="float64") for c in configs]
    doubles = [LaneTensors(s.weights.double(), s.moment1.double(), s.moment2.double(), s.step) for s in states]
    ready()

    def both(fresh_moments: bool) -> tuple[list[LaneTensors], list[LaneTensors], LaneStack]:
        found = []
        for runs, begin, how in (
            (configs, states, choose_engine(engine, device)),
            (exact, doubles, choose_engine("eager", cpu)),
        ):
            taken = [LaneTensors(s.weights, 0 * s.moment1, 0 * s.moment2) for s in begin] if fresh_moments else begin
            stack = LaneStack([joining(c, s) for c, s in zip(runs, taken, strict=True)], how)
            stack.advance(1)
            found.append(stack)
        ours, reference = ([stack.state(lane) for lane in range(LANES)] for stack in found)
        return ours, reference, found[0]

    layout = network_of(config).layout

    def worst(ours: list[Tensor], reference: list[Tensor]) -> float:
        named, named_reference = (layout.views(torch.stack(flat)) for flat in (ours, reference))
        return max(
            float((named[name].double() - named_reference[name]).abs().max() / named_reference[name].abs().max())
            for name in named
        )

    # From moments of zero the first moment after a step is the gradient times 1 - beta1.
    ours, reference, stack = both(fresh_moments=True)
    gradient = worst([s.moment1 / (1 - BETA1) for s in ours], [s.moment1 / (1 - BETA1) for s in reference])
    ours, reference, _ = both(fresh_moments=False)
    return (
        stack.engine.name,
        stack.engine.note,
        gradient,
        worst([s.weights for s in ours], [s.weights for s in reference]),
    )


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
            name, note, gradient, weights = found[0]
            rows.append((p, engine if name == engine else f"{engine}: fell back to {name} ({note})", gradient, weights))
    columns = ("p", "engine", "gradient", "weights after the step")
    note = (
        f"Largest error of one step from the state after {n_steps} steps, against the same step in float64: over the "
        "parameters, the largest difference over the largest value."
    )
    return Table("accuracy", "Accuracy of a step", columns, tuple(rows), note)
