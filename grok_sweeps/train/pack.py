"""Train a pack: the one loop that owns time, readings, retirement, refill, rows and checkpoints.

A pack holds more runs than lanes. A lane whose run ends gives its place to the next waiting run; when none waits the
stack shrinks. The loop returns to its caller every few seconds with a summary, which is also when finished runs are
written, so that a caller can be a Ray trial, a test or a plain script.

What can go wrong: a kill at any point. Rows are written before the checkpoint that no longer holds their lanes, and the
older checkpoint is deleted last, so what is lost is at most the steps since the last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import torch

from grok_sweeps.store.checkpoints import LaneState, encode_states, keep_state
from grok_sweeps.store.rows import RowLog, write_results
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.train.lanes import LaneStack, LaneTensors
from grok_sweeps.train.record import RunRecord
from grok_sweeps.train.start import Start, Starts, lane_state, state_sha256
from grok_sweeps.train.work import PackWork, RunWork


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What a pack reports. `run_steps` counts steps of this attempt, `run_steps_under_way` those of runs in lanes."""

    pack_id: str
    lanes_active: int
    runs_waiting: int
    runs_finished: int
    runs_grokked: int
    run_steps: int
    run_steps_under_way: int
    steps_per_s: float
    done: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


@dataclass
class _Lane:
    """A run in a lane, beside its tensors in the stack."""

    run: RunWork
    start: Start
    record: RunRecord


@dataclass
class PackTrainer:
    """Trains one attempt at a pack.

    Args:
        store: the sweep's objects.
        work: what to train.
        attempt: name of this attempt, unique over all workers.
        device: where to train.
        provenance: columns that say who trained (`schema.PROVENANCE`).
        clock: monotonic seconds; replaced in tests.
    """

    store: SweepStore
    work: PackWork
    attempt: str
    device: torch.device
    provenance: Mapping[str, Any]
    clock: Callable[[], float] = time.monotonic
    _lanes: list[_Lane] = field(default_factory=list)
    _waiting: list[RunWork] = field(default_factory=list)
    _finished: list[tuple[_Lane, LaneTensors, int]] = field(default_factory=list)
    _stack: LaneStack | None = None
    _number: int = 0
    _runs_finished: int = 0
    _runs_grokked: int = 0
    _run_steps: int = 0
    _checkpoint_name: str | None = None

    def __post_init__(self) -> None:
        log = RowLog(self.store)
        log.refresh()
        self._starts = Starts(self.store, self.work.runs, log.rows)
        # Runs with a state come first: they are the furthest, and their checkpoints go soonest.
        self._waiting = sorted(self._starts.missing, key=lambda run: not self._starts.has_state(run))
        self._last_checkpoint = self.clock()
        self._settle({})

    @property
    def done(self) -> bool:
        """Whether every run of the pack has its row."""
        return not self._lanes and not self._waiting and not self._finished

    def advance(self, seconds: float, stop: Callable[[], bool] = lambda: False) -> PackSummary:
        """Train for about `seconds`, write what finished and what is due, and sum up.

        `stop` is asked between readings; when it says yes the lanes' states are written and the call returns.
        """
        began, run_steps = self.clock(), 0
        while self._lanes and self.clock() - began < seconds and not stop():
            run_steps += self._to_next_reading()
            if self.clock() - self._last_checkpoint >= self.work.checkpoint_every_s:
                self.checkpoint()
        elapsed = max(self.clock() - began, 1e-9)
        self._run_steps += run_steps
        self.write_finished()
        if stop():
            self.checkpoint()
        if self.done:
            self._drop_checkpoint()
        return PackSummary(
            self.work.pack_id,
            len(self._lanes),
            len(self._waiting),
            self._runs_finished,
            self._runs_grokked,
            self._run_steps,
            sum(self._stack.steps) if self._stack else 0,
            run_steps / elapsed,
            self.done,
        )

    def write_finished(self) -> None:
        """Write the runs that ended since the last call: states that are kept, then curves, then rows."""
        if not self._finished:
            return
        self._number += 1
        for lane, tensors, _ in self._finished:
            if lane.record.spent_its_budget:
                keep_state(self.store, lane_state(lane.run.run_id, tensors, lane.record))
        rows = [self._row(*item) for item in self._finished]
        curves: list[pa.Table] = [
            lane.record.curve(self.store.sweep, lane.run.run_id, self.attempt) for lane, _, _ in self._finished
        ]
        write_results(self.store, self.work.pack_id, self.attempt, self._number, rows, curves)
        for lane, _, _ in self._finished:
            if lane.start.extends_step is not None:
                self.store.objects.delete(self.store.layout.state(lane.run.run_id, lane.start.extends_step))
        self._finished = []

    def checkpoint(self) -> None:
        """Write finished runs, then every lane's whole state, then delete this attempt's older checkpoint."""
        self.write_finished()
        self._last_checkpoint = self.clock()
        states = self.lane_states()
        if not states:
            self._drop_checkpoint()
            return
        self._number += 1
        older = self._checkpoint_name
        name = self.store.layout.checkpoint(self.work.pack_id, self.attempt, self._number)
        self.store.objects.put(name, encode_states(states))
        self._checkpoint_name = name
        if older:
            self.store.objects.delete(older)

    def lane_states(self) -> list[LaneState]:
        """The whole state of every run under way."""
        if self._stack is None:
            return []
        return [lane_state(lane.run.run_id, self._stack.state(k), lane.record) for k, lane in enumerate(self._lanes)]

    def _drop_checkpoint(self) -> None:
        if self._checkpoint_name:
            self.store.objects.delete(self._checkpoint_name)
            self._checkpoint_name = None

    def _to_next_reading(self) -> int:
        """Train to the nearest reading of any lane, take the readings that are due, return the run-steps done."""
        stack = self._stack
        assert stack is not None
        began, n_lanes = self.clock(), stack.n_lanes
        due = [lane.record.next_reading(step) for lane, step in zip(self._lanes, stack.steps, strict=True)]
        n_steps = min(at - step for at, step in zip(due, stack.steps, strict=True))
        stack.advance(n_steps)
        for k, lane in enumerate(self._lanes):
            if stack.steps[k] == due[k]:
                lane.record.add(stack.steps[k], stack.read(k))
        share = (self.clock() - began) / n_lanes
        for lane in self._lanes:
            lane.record.wall_s += share
        ended = {k for k, lane in enumerate(self._lanes) if lane.record.outcome is not None}
        if ended:
            self._settle({k: stack.state(k) for k in range(n_lanes)}, ended)
        return int(n_steps * n_lanes)

    def _settle(self, states: Mapping[int, LaneTensors], ended: frozenset[int] | set[int] = frozenset()) -> None:
        """Retire the lanes in `ended`, fill their places with waiting runs, and rebuild or shrink the stack."""
        width = len(self._lanes) or self.work.lanes
        kept: list[tuple[_Lane, LaneTensors]] = []
        for k, lane in enumerate(self._lanes):
            if k in ended:
                self._retire(lane, states[k], width)
                kept += self._next_waiting(width)
            else:
                kept.append((lane, states[k]))
        while len(kept) < self.work.lanes and self._waiting:
            kept += self._next_waiting(width)
        self._lanes = [lane for lane, _ in kept]
        self._stack = None
        if kept:
            configs = [lane.run.config for lane in self._lanes]
            held = [lane.start.held for lane in self._lanes]
            self._stack = LaneStack(configs, held, [tensors for _, tensors in kept], self.device)

    def _retire(self, lane: _Lane, tensors: LaneTensors, width: int) -> None:
        self._finished.append((lane, tensors, width))
        self._runs_finished += 1
        self._runs_grokked += lane.record.outcome == "grokked"

    def _next_waiting(self, width: int) -> list[tuple[_Lane, LaneTensors]]:
        """The next run that has steps to do, or none; those found at their end only lack their row."""
        while self._waiting:
            run = self._waiting.pop(0)
            start = self._starts.start(run)
            lane = _Lane(run, start, start.record)
            if lane.record.outcome is None:
                return [(lane, start.tensors)]
            self._retire(lane, start.tensors, width)
        return []

    def _row(self, lane: _Lane, tensors: LaneTensors, width: int) -> dict[str, Any]:
        run, record, held = lane.run, lane.record, lane.start.held
        return {
            "sweep": self.store.sweep,
            "run_id": run.run_id,
            "cell_id": run.cell_id,
            **run.config.to_dict(),
            **record.outcome_columns(),
            "w_c": run.reference.w_c,
            "held_norm": held.norm if held else None,
            "fork_of": run.fork_of,
            "fork_norm": lane.start.fork_norm,
            "fork_state_sha256": lane.start.fork_state_sha256,
            "final_state_sha256": state_sha256(run.run_id, tensors, record),
            **self.provenance,
            "attempt": self.attempt,
            "device": str(self.device),
            "lanes": width,
            "started_at": record.started_at,
            "finished_at": datetime.now(UTC),
            "wall_s": record.wall_s,
        }
