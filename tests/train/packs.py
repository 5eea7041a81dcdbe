"""What tests of packs share: a run's work, training to the end, rows as they stand, lanes without a pack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from grok_sweeps.arms import ARMS, Held, Reference
from grok_sweeps.config import RunConfig
from grok_sweeps.store import SweepStore
from grok_sweeps.store.rows import RowLog
from grok_sweeps.train.engine import Engine, choose_engine
from grok_sweeps.train.lanes import Joining, LaneStack, LaneTensors
from grok_sweeps.train.pack import PackSummary, PackTrainer
from grok_sweeps.train.work import RunWork

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


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest distance over lanes, relative to the lane's length."""
    return float(((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).max())
