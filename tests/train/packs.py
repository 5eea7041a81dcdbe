"""What tests of packs share: a run's work, training to the end, rows as they stand, lanes without a pack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from grok_sweeps.arms import ARMS, Held, Reference
from grok_sweeps.config import RunConfig
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.store import SweepStore
from grok_sweeps.store.rows import RowLog
from grok_sweeps.tasks import n_pairs
from grok_sweeps.train.engine import Engine, choose_engine
from grok_sweeps.train.lanes import DTYPES, STATE_TENSORS, Joining, LaneStack, LaneTensors
from grok_sweeps.train.pack import PackSummary, PackTrainer
from grok_sweeps.train.work import RunWork
from tests.rounding import FLOOR, allowed, assert_near

COUNTED = ("train_accuracy", "test_accuracy", "softmax_collapse", "saturation", "saturated_units")
"""Readings that are shares of things counted."""

CPU = torch.device("cpu")


def work_of(config: RunConfig, **values: Any) -> RunWork:
    """A run as its worker gets it; `values` are fields of `RunWork`."""
    reference = Reference(config.w_c, config.shares)
    own = {"horizon_steps": config.max_steps, "reference": reference}
    return RunWork(config.run_id, config.cell_id, config, **{**own, **values})


def complete(trainer: PackTrainer) -> None:
    """Train a pack to its end."""
    for _ in range(10_000):
        if trainer.advance(0.2).done:
            return
    pytest.fail("the pack did not end")


def a_little(trainer: PackTrainer) -> PackSummary:
    """Train to the next reading and little further: any longer time may be all of a run on a fast machine."""
    before = trainer.run_steps
    while True:
        summary = trainer.advance(1e-4)
        if summary.done or summary.run_steps > before:
            return summary


def rows(store: SweepStore) -> dict[str, dict[str, Any]]:
    """The sweep's rows by run_id."""
    log = RowLog(store)
    log.refresh()
    return dict(log.rows)


def held_of(config: RunConfig) -> Held | None:
    """The norms a run with everything pinned is held at."""
    return ARMS[config.arm].held(config, Reference(config.w_c, config.shares))


def stack_of(
    configs: Sequence[RunConfig], states: Sequence[LaneTensors] | None = None, engine: Engine | None = None
) -> LaneStack:
    """Lanes of runs with everything pinned, from the start or from `states`."""
    begun = states or [LaneTensors.fresh(c) for c in configs]
    runs = [Joining(c, held_of(c), state) for c, state in zip(configs, begun, strict=True)]
    return LaneStack(runs, engine or choose_engine("auto", CPU))


def after(stack: LaneStack, name: str) -> torch.Tensor:
    """A tensor of the state of all lanes, [L, M] in float64."""
    return torch.stack([getattr(stack.state(k), name) for k in range(stack.n_lanes)]).double()


def continued(configs: Sequence[RunConfig], states: Sequence[LaneTensors], engine: Engine, *calls: int) -> LaneStack:
    """A stack in the configs' precision that has done the steps of these calls from the states."""
    dtype = DTYPES[configs[0].dtype]
    begun = [LaneTensors(s.weights.to(dtype), s.moment1.to(dtype), s.moment2.to(dtype), s.step) for s in states]
    stack = stack_of(configs, begun, engine)
    for n_steps in calls:
        stack.advance(n_steps)
    return stack


def exactly(configs: Sequence[RunConfig], states: Sequence[LaneTensors], n_steps: int) -> LaneStack:
    """The same in float64, in plain torch on the CPU."""
    return continued([replace(c, dtype="float64") for c in configs], states, Engine("eager", CPU), n_steps)


def filled(configs: Sequence[RunConfig], n_steps: int = 5) -> list[LaneTensors]:
    """States after a few steps in plain torch: Adam's moments are no longer those of a single gradient."""
    stack = stack_of(configs, engine=Engine("eager", CPU))
    stack.advance(n_steps)
    return [stack.state(lane) for lane in range(stack.n_lanes)]


def assert_states_near(
    ours: LaneStack,
    plain: LaneStack,
    exact: LaneStack,
    names: Sequence[str] = STATE_TENSORS,
    floor: float = FLOOR,
) -> None:
    """Hold tensors of the lanes' states to float64; see `tests.rounding`."""
    for name in names:
        assert_near(after(ours, name), after(plain, name), after(exact, name), name, floor)


def assert_readings_near(
    configs: Sequence[RunConfig], ours: LaneStack, plain: LaneStack, exact: LaneStack, floor: float = FLOOR
) -> None:
    """Hold the lanes' readings to float64; of what is counted, one pair may fall on the other side of a threshold."""
    mine, others, truth = (stack.read(range(len(configs))) for stack in (ours, plain, exact))
    pairs = min(min(c.n_train, n_pairs(c.task, c.p) - c.n_train) for c in configs)
    for name in READING_NAMES:
        values = [read[name] for read in truth]
        if math.isnan(values[0]):
            assert all(math.isnan(read[name]) for read in mine), name
            continue
        error, plains = (
            max(abs(read[name] - value) / (abs(value) or 1.0) for read, value in zip(reads, values, strict=True))
            for reads in (mine, others)
        )
        bound = allowed(plains, floor) + (1 / pairs if name in COUNTED else 0.0)
        assert error <= bound, f"{name}: {error:.2g} from float64, {bound:.2g} is allowed"
