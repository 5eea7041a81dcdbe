"""Where a run starts: afresh, from its own newest state, or from its parent's state at the fork.

This is the only resume path: every worker takes it for every run, whatever happened before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from grok_sweeps.arms import ARMS, Held
from grok_sweeps.errors import CorruptObjectError, LostParentError, NewerSchemaError
from grok_sweeps.store.checkpoints import kept_state, kept_steps, load_newest
from grok_sweeps.store.states import LaneState
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.todo import settled
from grok_sweeps.train.lanes import STATE_TENSORS, LaneTensors
from grok_sweeps.train.network import network_of
from grok_sweeps.train.optimizers import hold
from grok_sweeps.train.record import RunRecord
from grok_sweeps.train.work import RunWork


@dataclass(frozen=True)
class Start:
    """A run ready for its lane. `extends_step` is where a censored run goes on from."""

    tensors: LaneTensors
    record: RunRecord
    held: Held | None
    fork_norm: float | None = None
    fork_state_sha256: str | None = None
    extends_step: int | None = None


class Starts:
    """The starts of a pack's runs that have more to do.

    Args:
        store: the sweep's objects.
        runs: the pack's runs.
        rows: rows of the sweep, by run_id.
    """

    def __init__(self, store: SweepStore, runs: Sequence[RunWork], rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._store, self._rows = store, rows
        kept = kept_steps(store) if any(run.is_parent for run in runs) else {}
        self.missing = [
            run
            for run in runs
            if not settled(rows.get(run.run_id), run.horizon_steps, kept.get(run.run_id, ()) if run.is_parent else None)
        ]
        self._states = load_newest(store, [run.run_id for run in self.missing])
        self._parents: dict[str, LaneState] = {}
        self._lost: dict[str, LostParentError] = {}
        for run in self.missing:
            if run.origin and run.run_id not in self._states:
                sweep, _, run_id = run.origin.partition("/")
                found = load_newest(SweepStore(store.objects, sweep), [run_id], at_most=run.horizon_steps)
                if run_id in found:
                    self._states[run.run_id] = found[run_id]

    def has_state(self, run: RunWork) -> bool:
        """Whether a run goes on from a state of its own."""
        return run.run_id in self._states

    def start(self, run: RunWork) -> Start:
        """The run as it starts now.

        Raises:
            LostParentError: it is a fork and its parent's state is missing or damaged.
        """
        parent = None if run.fork_of is None else self._parent(run)
        reference = run.reference
        if parent is not None:
            reference = replace(reference, fork_norm=_weight_norm(run, parent))
        held = ARMS[run.config.arm].held(run.config, reference)
        row = self._rows.get(run.run_id)
        state = self._states.get(run.run_id)
        if state is not None:
            facts = state.facts
            history = (state.tensors["reading_steps"], state.tensors["readings"])
            record = RunRecord.restored(run.config, run.horizon_steps, facts, *history)
            tensors = _tensors(state)
        else:
            record = RunRecord(run.config, datetime.now(UTC), run.horizon_steps)
            if parent is None:
                tensors = LaneTensors.fresh(run.config)
            else:
                tensors = _tensors(parent)
                record.memorized_step = parent.facts["memorized_step"]
                if held is not None and (run.config.clamp_from_step or 0) <= tensors.step:
                    hold(tensors.weights, held, network_of(run.config).layout)
        return Start(
            tensors,
            record,
            held,
            reference.fork_norm,
            parent.sha256(STATE_TENSORS) if parent else None,
            row["steps_run"] if row is not None and not run.is_parent else None,
        )

    def _parent(self, run: RunWork) -> LaneState:
        """The state a fork starts from, looked for once."""
        assert run.fork_of is not None
        assert run.config.fork_step is not None
        if run.fork_of in self._lost:
            raise self._lost[run.fork_of]
        if run.fork_of not in self._parents:
            try:
                self._parents[run.fork_of] = self._read_parent(run.fork_of, run.config.fork_step)
            except LostParentError as error:
                self._lost[run.fork_of] = error
                raise
        return self._parents[run.fork_of]

    def _read_parent(self, run_id: str, step: int) -> LaneState:
        """A state as it is stored; a damaged one is deleted, so that its run counts as one to train again."""
        name = self._store.layout.state(run_id, step)
        try:
            state = kept_state(self._store, run_id, step)
        except NewerSchemaError:
            raise
        except CorruptObjectError as error:
            self._store.objects.delete(name)
            raise LostParentError(f"{error} Forks start from it: run {run_id} is trained again.") from error
        if state is None:
            raise LostParentError(f"{name}: missing. Forks start from it: run {run_id} is trained again.")
        return state


def lane_state(run_id: str, tensors: LaneTensors, record: RunRecord) -> LaneState:
    """A run's whole state, history included."""
    arrays = {name: getattr(tensors, name).numpy() for name in STATE_TENSORS}
    arrays["reading_steps"] = np.asarray(record.steps, dtype=np.int64)
    arrays["readings"] = record.array()
    return LaneState(run_id, tensors.step, arrays, record.facts())


def state_sha256(run_id: str, tensors: LaneTensors, record: RunRecord) -> str:
    """SHA-256 of weights, moments and step."""
    return lane_state(run_id, tensors, record).sha256(STATE_TENSORS)


def _tensors(state: LaneState) -> LaneTensors:
    return LaneTensors(**{n: torch.from_numpy(state.tensors[n].copy()) for n in STATE_TENSORS}, step=state.step)


def _weight_norm(run: RunWork, state: LaneState) -> float:
    n = network_of(run.config).layout.n_weights
    return float(np.linalg.norm(state.tensors["weights"][:n].astype(np.float64)))
