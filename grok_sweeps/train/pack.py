"""Train a pack: the one loop that owns time, readings, retirement, refill, rows and checkpoints.

A pack holds more runs than lanes. A lane whose run ends gives its place to the next waiting run; when none waits the
stack shrinks, on a GPU once more than `IDLE_SHARE` of its lanes are idle. The loop returns to its caller every few
seconds with a summary, so that a caller can be a Ray trial, a test or a plain script. Finished runs, and the readings
of those under way, are written every `RESULTS_EVERY_S`, and before a checkpoint that no longer holds a finished run.

What can go wrong: a kill at any point. Rows are written before the checkpoint that no longer holds their lanes, and the
older checkpoint is deleted last, so what is lost is at most the steps since the last checkpoint. Everything is written
by a thread of its own in that order, from copies on the host, while the lanes train on. Another driver that takes over
the sweep: before each write, and every `LEASE_S`, the worker looks whether its fence still stands (`store/lease.py`).
And a GPU that has too little memory: the pack goes on with half the lanes, from the newest states that it has written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import torch

from grok_sweeps.errors import LostParentError
from grok_sweeps.plan.kept import keeps_state
from grok_sweeps.store.checkpoints import StateRef, keep_state
from grok_sweeps.store.lease import LEASE_S, check_fence
from grok_sweeps.store.segments import Segments
from grok_sweeps.store.states import LaneState, encode_states
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.train.engine import Engine
from grok_sweeps.train.lanes import Joining, LaneStack, LaneTensors
from grok_sweeps.train.memory import CudaMeter, LaneMemory, Meter, measure_lane, most_lanes
from grok_sweeps.train.record import RunRecord
from grok_sweeps.train.start import Start, Starts, lane_state, state_sha256
from grok_sweeps.train.work import PackWork, RunWork
from grok_sweeps.train.writer import Writer

IDLE_SHARE = {"cpu": 0.0, "cuda": 0.05}
"""Share of lanes that may be idle before the stack shrinks: on a GPU shrinking costs the capture of a new graph."""

AT_ONCE_S = 1.0
"""Time after which the loop looks up, however far the next reading is: to report, write states, or stop."""
RESULTS_EVERY_S = 20.0
"""Age of rows and of new readings at which they are written."""
FIRST_RESULTS_S = 5.0
"""The same at the beginning of an attempt."""
FIRST_STEPS = 32
"""Steps before it is known how long they take."""


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What a pack reports. `run_steps` counts steps of this attempt, `run_steps_under_way` those of runs in lanes.

    `files_written` counts this attempt's files of rows and of states that are in the store.

    `idle_lane_steps` are those of lanes whose run had ended, on top of them. `stopped` says that a stop was asked for
    and the lanes' states are written.
    """

    pack_id: str
    lanes_active: int
    runs_waiting: int
    runs_finished: int
    runs_grokked: int
    run_steps: int
    idle_lane_steps: int
    run_steps_under_way: int
    files_written: int
    steps_per_s: float
    done: bool
    stopped: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


@dataclass
class _Lane:
    """A run in a lane, beside its tensors in the stack. It is idle once the run has ended."""

    run: RunWork
    start: Start
    record: RunRecord

    @property
    def joining(self) -> Joining:
        """What the stack takes in."""
        return Joining(self.run.config, self.start.held, self.start.tensors)

    @property
    def idle(self) -> bool:
        """Whether it only keeps its place."""
        return self.record.outcome is not None


@dataclass(frozen=True, slots=True)
class _Ended:
    """A run that waits for its row: its last state, and how it was trained at the end."""

    lane: _Lane
    tensors: LaneTensors
    finished_at: datetime
    how: Mapping[str, Any]


@dataclass
class PackTrainer:
    """Trains one attempt at a pack.

    Args:
        store: the sweep's objects.
        work: what to train.
        attempt: name of this attempt, unique over all workers.
        engine: how, and on what device.
        provenance: columns that say who trained (`schema.PROVENANCE`).
        clock: monotonic seconds; replaced in tests.
        meter: of the device's memory, where the width depends on it; the GPU's unless given.
        fence: of the driver's lease: once another has it, nothing more is written, and `LeaseLostError` raised.
    """

    store: SweepStore
    work: PackWork
    attempt: str
    engine: Engine
    provenance: Mapping[str, Any]
    clock: Callable[[], float] = time.monotonic
    meter: Meter | None = None
    fence: int | None = None
    notes: list[str] = field(default_factory=list)
    _lanes: list[_Lane] = field(default_factory=list)
    _waiting: list[RunWork] = field(default_factory=list)
    _ended: list[_Ended] = field(default_factory=list)
    _read_until: dict[str, int] = field(default_factory=dict)
    """The step up to which a run's readings were handed over to be written."""
    _stack: LaneStack | None = None
    _number: int = 0
    _runs_finished: int = 0
    _runs_grokked: int = 0
    _run_steps: int = 0
    _idle_lane_steps: int = 0
    _checkpoint_name: str | None = None
    _memory: LaneMemory | None = None
    _steps_in_store: int = 0
    _files_written: int = 0
    _steps_at_once: int = FIRST_STEPS
    _written: dict[str, int] = field(default_factory=dict)
    _rowless: dict[str, tuple[_Lane, int]] = field(default_factory=dict)
    """Runs that ended, and at which step, until their row is written."""

    def __post_init__(self) -> None:
        if self.meter is None and self.engine.device.type == "cuda":
            self.meter = CudaMeter(self.engine.device)
        self._writer = Writer()
        self._segments = Segments(self.store, self.work.pack_id, self.attempt, self.fence)
        self._began = self._last_results = self.clock()
        self._asked_for_fence = self.clock()
        self._width = min(self.work.lanes, len(self.work.runs))
        self._say_why()
        self._begin(self.work.runs)

    def _say_why(self) -> None:
        """Note why the engine is not the one that was wanted."""
        if self.engine.note:
            self.notes.append(self.engine.note)

    def _begin(self, runs: Sequence[RunWork]) -> None:
        """Begin what is to be trained."""
        self._starts = Starts(self.store, runs, lambda error: self.notes.append(f"skipped: {error}"))
        # Runs with a state come first: they are the furthest, and their checkpoints go soonest.
        self._waiting = sorted(runs, key=lambda run: not run.states)
        self._last_checkpoint = self.clock()
        if self.meter is not None and self._memory is None and self._waiting:
            self._fit(self.meter)
        self._starts.read_ahead(self._waiting[: self._width])
        self._settle()

    def _fit(self, meter: Meter) -> None:
        """Narrow the stack to what the device has memory for."""
        try:
            self._memory = measure_lane(self._waiting[0].config, self.engine, meter)
        except torch.OutOfMemoryError:
            self._width = 1
            self.notes.append(f"one lane: {self.engine.device} has no memory for two")
            return
        fit = most_lanes(self._memory, meter)
        if fit < self._width:
            self.notes.append(
                f"{fit} lanes instead of {self._width}: a lane takes {self._memory.lane_bytes / 1e6:,.1f} MB on "
                f"{self.engine.device}, {meter.free_bytes() / 1e6:,.0f} MB are free"
            )
            self._width = fit

    @property
    def files_written(self) -> int:
        """This attempt's files of rows and of states that are in the store."""
        return self._files_written

    def record_of(self, run_id: str) -> RunRecord | None:
        """The history of a run that is in a lane, or None."""
        return next((lane.record for lane in self._lanes if lane.run.run_id == run_id), None)

    @property
    def done(self) -> bool:
        """Whether every run of the pack has its row, but for forks whose parent has to be trained again."""
        return self._trained and not self._rowless

    @property
    def _trained(self) -> bool:
        """Whether every run has ended, whatever is written of it."""
        return not self._lanes and not self._waiting

    @property
    def run_steps(self) -> int:
        """Steps done by this attempt, over all its runs."""
        return self._run_steps

    def advance(self, seconds: float, stop: Callable[[], bool] = lambda: False) -> PackSummary:
        """Train for about `seconds`, write what finished and what is due, and sum up.

        `stop` is asked between readings; when it says yes the lanes' states are written and the call returns, with
        `stopped` in the summary. It is not asked again after that, so that nothing comes in between.
        """
        began, before, stopped = self.clock(), self._run_steps, False
        while self._lanes and self.clock() - began < seconds and not (stopped := stop()):
            if not self._fits(self._to_next_reading):
                self._halve()
            if self.clock() - self._last_checkpoint >= self.work.checkpoint_every_s:
                self._checkpoint()
            if self._results_are_due():
                self._write_results()
            if self.fence is not None and self.clock() - self._asked_for_fence >= LEASE_S:
                self._asked_for_fence = self.clock()
                self._writer.submit(partial(check_fence, self.store, self.fence))
        elapsed = max(self.clock() - began, 1e-9)
        stopped = stopped or stop()
        if self._trained or stopped or self._results_are_due():
            self._write_results(last=self._trained or stopped)
        if stopped:
            self._checkpoint()
        if self._trained:
            self._drop_checkpoint()
        if self._trained or stopped:
            self._writer.finish()
        return PackSummary(
            self.work.pack_id,
            sum(not lane.idle for lane in self._lanes),
            len(self._waiting),
            self._runs_finished,
            self._runs_grokked,
            self._run_steps,
            self._idle_lane_steps,
            sum(step for lane, step in self._placed() if not lane.idle),
            self.files_written,
            (self._run_steps - before) / elapsed,
            self.done,
            stopped,
        )

    def _results_are_due(self) -> bool:
        """Whether rows and readings are to be written: often at first, so that a short pack is seen to go on."""
        now = self.clock()
        return now - self._last_results >= min(RESULTS_EVERY_S, max(FIRST_RESULTS_S, self._last_results - self._began))

    def _write_results(self, *, last: bool = False) -> None:
        """Write the runs that ended since the last call and all new readings: kept states, then curves, then rows."""
        self._last_results = self.clock()
        ended, self._ended = self._ended, []
        rows = [self._row(item) for item in ended]
        under_way = [lane for lane in self._lanes if not lane.idle]
        curves = [self._new_readings(lane) for lane in (*(item.lane for item in ended), *under_way)]
        self._writer.submit(partial(self._put_results, ended, rows, curves, last))

    def _new_readings(self, lane: _Lane) -> pa.Table:
        run_id, record = lane.run.run_id, lane.record
        readings = record.curve(self.store.sweep, run_id, self.attempt, self._read_until.get(run_id, 0))
        if len(readings):
            self._read_until[run_id] = record.steps[-1]
        return readings

    def _put_results(
        self, ended: Sequence[_Ended], rows: Sequence[Mapping[str, Any]], curves: Sequence[pa.Table], last: bool
    ) -> None:
        check_fence(self.store, self.fence)
        for item in ended:
            if item.lane.record.spent_its_budget and self._keeps(item.lane):
                keep_state(self.store, lane_state(item.lane.run.run_id, item.tensors, item.lane.record), self.fence)
                self._written[item.lane.run.run_id] = item.tensors.step
        self._segments.write(rows, curves, last=last)
        self._files_written += bool(rows)
        for item in ended:
            self._rowless.pop(item.lane.run.run_id, None)
        for item in ended:
            if item.lane.start.extends_step is not None:
                name = self.store.layout.state(item.lane.run.run_id, item.lane.start.extends_step)
                self.store.objects.delete(name)

    def _keeps(self, lane: _Lane) -> bool:
        """Whether the state of a run that has spent its budget is kept."""
        censored = lane.record.outcome == "censored"
        return keeps_state(self.work.keep_states, lane.run.config, is_parent=lane.run.is_parent, censored=censored)

    def checkpoint(self) -> None:
        """Write ended runs and every lane's whole state, and wait until it is done."""
        self._checkpoint()
        self._writer.finish()

    def finish_writes(self) -> None:
        """Wait until everything handed over so far is written; `files_written` is final then, also where it raises.

        Raises:
            StoreError: a write failed.
        """
        self._writer.finish()

    def _checkpoint(self) -> None:
        """Write ended runs, then every lane's whole state if it is new, then delete this attempt's older checkpoint."""
        if self._ended:
            self._write_results()
        self._last_checkpoint = self.clock()
        states = self.lane_states()
        if not states:
            self._drop_checkpoint()
            return
        if self._run_steps == self._steps_in_store:
            return
        self._steps_in_store = self._run_steps
        self._number += 1
        older = self._checkpoint_name
        self._checkpoint_name = self.store.layout.checkpoint(self.work.pack_id, self.attempt, self._number)
        self._writer.submit(partial(self._put_checkpoint, self._checkpoint_name, states, older))

    def _put_checkpoint(self, name: str, states: Sequence[LaneState], older: str | None) -> None:
        check_fence(self.store, self.fence)
        self.store.objects.put(name, encode_states(states, self.fence))
        self._files_written += 1
        self._written = {state.run_id: state.step for state in states}
        if older:
            self.store.objects.delete(older)

    def unwritten(self) -> dict[str, int]:
        """Steps of each run without a row that are in no state of this attempt: what an end now would lose."""
        under_way = [(lane, step) for lane, step in self._placed() if not lane.idle]
        lost = {
            lane.run.run_id: step - self._written.get(lane.run.run_id, lane.start.tensors.step)
            for lane, step in [*self._rowless.values(), *under_way]
        }
        return {run_id: steps for run_id, steps in lost.items() if steps}

    def lane_states(self) -> list[LaneState]:
        """The whole state of every run under way."""
        if self._stack is None:
            return []
        return [
            lane_state(lane.run.run_id, self._stack.state(k), lane.record)
            for k, lane in enumerate(self._lanes)
            if not lane.idle
        ]

    def _drop_checkpoint(self) -> None:
        name, self._checkpoint_name = self._checkpoint_name, None
        if name:
            self._writer.submit(partial(self.store.objects.delete, name))

    def _placed(self) -> list[tuple[_Lane, int]]:
        """The lanes and the steps they stand at."""
        return list(zip(self._lanes, self._stack.steps, strict=True)) if self._stack else []

    def _to_next_reading(self) -> None:
        """Train to the nearest reading of any lane, or towards it for a while, and take the readings that are due."""
        stack = self._stack
        assert stack is not None
        began = self.clock()
        due = {k: lane.record.next_reading(step) for k, (lane, step) in enumerate(self._placed()) if not lane.idle}
        n_steps = min(self._steps_at_once, *(at - stack.steps[k] for k, at in due.items()))
        stack.advance(n_steps)
        if stack.engine is not self.engine:
            self.engine = stack.engine
            self._say_why()
        to_read = [k for k, at in due.items() if stack.steps[k] == at]
        for k, values in zip(to_read, stack.read(to_read), strict=True):
            self._lanes[k].record.add(stack.steps[k], values)
        elapsed = self.clock() - began
        if n_steps and elapsed > 0:
            self._steps_at_once = max(1, int(n_steps * AT_ONCE_S / elapsed))
        share = elapsed / len(due)
        for k in due:
            self._lanes[k].record.wall_s += share
        self._run_steps += n_steps * len(due)
        self._idle_lane_steps += n_steps * (stack.n_lanes - len(due))
        if any(self._lanes[k].idle for k in due):
            for k in due:
                if self._lanes[k].idle:
                    self._retire(self._lanes[k], stack.state(k))
            self._settle()

    def _settle(self) -> None:
        """Give the places of ended runs to waiting ones; where none waits, take too many idle lanes out."""
        places: list[int | _Lane] = []
        for k, now in enumerate(self._lanes):
            places.append((self._next_waiting() if now.idle else None) or k)
        while len(places) < self._width and (lane := self._next_waiting()):
            places.append(lane)
        idle = [k for k in places if isinstance(k, int) and self._lanes[k].idle]
        if len(idle) > IDLE_SHARE[self.engine.device.type] * len(places):
            places = [place for place in places if place not in idle]
        lanes = [self._lanes[place] if isinstance(place, int) else place for place in places]
        if all(lane.idle for lane in lanes):
            self._lanes, self._stack = [], None
            return
        self._lanes = lanes
        if not self._fits(partial(self._place, [p if isinstance(p, int) else p.joining for p in places])):
            self._halve()

    def _place(self, places: Sequence[int | Joining]) -> None:
        """Have the stack of these lanes."""
        if self._stack is None:
            self._stack = LaneStack([place for place in places if not isinstance(place, int)], self.engine)
        elif places != list(range(self._stack.n_lanes)):
            self._stack.rearrange(places)

    def _fits(self, work: Callable[[], None]) -> bool:
        """Do some work; whether the device had the memory for it.

        Raises:
            torch.OutOfMemoryError: one lane is too much already.
        """
        try:
            work()
        except torch.OutOfMemoryError:
            if self._width == 1:
                raise
            return False
        return True

    def _halve(self) -> None:
        """Go on with half the lanes, from the newest states that this attempt has written or was given.

        Called when the error is gone, whose traceback held the old lanes' memory. The checkpoint of the many lanes
        stays until all its runs have their rows, since the next one holds half of them.
        """
        self._width = max(1, self._width // 2)
        self.notes.append(f"out of memory on {self.engine.device}: goes on with {self._width} lanes")
        under_way = [lane.run for lane in self._lanes if not lane.idle]
        self._lanes, self._stack = [], None
        if self.engine.device.type == "cuda":
            torch.cuda.empty_cache()
        self._write_results()
        self._writer.finish()
        runs = [self._from_checkpoint(run) for run in under_way]
        self._checkpoint_name = None
        self._begin([*runs, *self._waiting])

    def _from_checkpoint(self, run: RunWork) -> RunWork:
        """A run that goes on from this attempt's checkpoint if that has a state of it."""
        if self._checkpoint_name is None or run.run_id not in self._written:
            return run
        newest = StateRef(run.run_id, self._written[run.run_id], self._checkpoint_name, len(self._written))
        return replace(run, states=(newest, *run.states))

    def _retire(self, lane: _Lane, tensors: LaneTensors) -> None:
        lane_steps = self._run_steps + self._idle_lane_steps
        how = {
            "lanes": len(self._lanes) or self._width,
            "engine": self.engine.name,
            "idle_share": self._idle_lane_steps / lane_steps if lane_steps else 0.0,
            "lane_bytes": self._memory.lane_bytes if self._memory else None,
        }
        self._ended.append(_Ended(lane, tensors, datetime.now(UTC), how))
        self._rowless[lane.run.run_id] = (lane, tensors.step)
        self._runs_finished += 1
        self._runs_grokked += lane.record.outcome == "grokked"

    def _next_waiting(self) -> _Lane | None:
        """The next run that has steps to do, or none; those found at their end only lack their row.

        A fork whose parent's state is lost is left out: the driver has the parent trained again, and then the fork.
        """
        while self._waiting:
            run = self._waiting.pop(0)
            try:
                start = self._starts.start(run)
            except LostParentError as error:
                if str(error) not in self.notes:
                    self.notes.append(str(error))
                continue
            lane = _Lane(run, start, start.record)
            if not lane.idle:
                return lane
            self._retire(lane, start.tensors)
        return None

    def _row(self, ended: _Ended) -> dict[str, Any]:
        lane = ended.lane
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
            "final_state_sha256": state_sha256(run.run_id, ended.tensors, record),
            **self.provenance,
            "attempt": self.attempt,
            "device": str(self.engine.device),
            "device_name": self.engine.device_name,
            "threads": torch.get_num_threads(),
            **ended.how,
            "started_at": record.started_at,
            "finished_at": ended.finished_at,
            "wall_s": record.wall_s,
        }
