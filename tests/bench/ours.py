"""Our own engine as the bench drives it: stacks of lanes, and packs through the product's `PackTrainer`.

What is taken from the engine stands here, so that the tables do not depend on it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from grok_sweeps.arms import ARMS, Reference
from grok_sweeps.config import STOP_AT_BUDGET, RunConfig
from grok_sweeps.provenance import provenance
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.lanes import Joining, LaneStack, LaneTensors
from grok_sweeps.train.network import network_of
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork, RunWork
from tests.bench.case import D_MODEL, HIDDEN, LR, TRAIN_FRACTION, WEIGHT_DECAY, Case
from tests.bench.memory import peak_bytes
from tests.bench.workers import Ready

ENDLESS = 10**9
"""Budget of runs that do not end while they are measured."""
EVAL_EVERY = 25
WARM_UP_STEPS = {"cpu": EVAL_EVERY, "cuda": 4 * EVAL_EVERY}
"""Past compilation and the capture of graphs: a number of steps runs plainly once, then is captured."""


@dataclass(frozen=True)
class PackRate:
    """What one worker measured: run-steps and seconds of each window, bytes a lane at the peak, and how it trained."""

    windows: tuple[tuple[int, float], ...]
    bytes_a_lane: float
    engine: str
    note: str | None


def config_of(case: Case, seed: int = 0, **changes: Any) -> RunConfig:
    """A run of a case as our engine trains it, on and on."""
    config = RunConfig(
        p=case.p,
        train_fraction=TRAIN_FRACTION,
        d_model=D_MODEL,
        hidden=HIDDEN,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        arm="clamp",
        rho=1.0,
        w_c=case.norm,
        clamp_from_step=1,
        tau=case.tau,
        seed=seed,
        seeding="run",
        max_steps=ENDLESS,
        eval_every=EVAL_EVERY,
        stop=STOP_AT_BUDGET,
    )
    return replace(config, **changes)


def joining(config: RunConfig, state: LaneTensors | None = None) -> Joining:
    """A run with everything pinned, from the start or from `state`."""
    held = ARMS[config.arm].held(config, Reference(config.w_c, config.shares))
    return Joining(config, held, state or LaneTensors.fresh(config))


def stack_of(configs: Sequence[RunConfig], engine: str, device: torch.device) -> LaneStack:
    """Lanes of fresh runs."""
    return LaneStack([joining(config) for config in configs], choose_engine(engine, device))


def named_weights(config: RunConfig, stack: LaneStack) -> dict[str, Tensor]:
    """Parameters of a stack's lanes by name, [L, ...] each, on the CPU."""
    flat = torch.stack([stack.state(lane).weights for lane in range(stack.n_lanes)])
    return network_of(config).layout.views(flat)


def pack_trainer(
    configs: Sequence[RunConfig], lanes: int, engine: str, device: torch.device, store: SweepStore
) -> PackTrainer:
    """A pack of runs with everything pinned, which writes no checkpoint by itself."""
    runs = tuple(RunWork(c.run_id, c.cell_id, c, c.max_steps, Reference(c.w_c, c.shares)) for c in configs)
    work = PackWork("bench", runs, lanes, checkpoint_every_s=float(ENDLESS))
    return PackTrainer(store, work, "bench", choose_engine(engine, device), provenance(None))


def warm_up(trainer: PackTrainer, lanes: int) -> None:
    """Train until compilation and capture are behind."""
    while trainer.advance(0.05).run_steps < lanes * WARM_UP_STEPS[trainer.engine.device.type]:
        pass


def pack_rate(
    ready: Ready, config: RunConfig, lanes: int, engine: str, device: torch.device, windows: int, window_s: float
) -> PackRate:
    """Train a pack of `lanes` runs like `config`, readings included, in windows of about `window_s`."""
    _forget_peak(device)
    before = _peak_bytes(device)
    with tempfile.TemporaryDirectory() as folder:
        store = SweepStore(open_objects(folder), "bench")
        trainer = pack_trainer([replace(config, seed=k) for k in range(lanes)], lanes, engine, device, store)
        warm_up(trainer, lanes)
        ready()
        found, done = [], trainer.advance(0.0).run_steps
        for _ in range(windows):
            began = time.perf_counter()
            summary = trainer.advance(window_s)
            found.append((summary.run_steps - done, time.perf_counter() - began))
            done = summary.run_steps
        lane_bytes = (_peak_bytes(device) - before) / lanes
        return PackRate(tuple(found), lane_bytes, trainer.engine.name, "; ".join(trainer.notes) or None)


def _peak_bytes(device: torch.device) -> int:
    """The most memory this process has had so far, or on a GPU has had allocated since `_forget_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
