"""Where a run starts: afresh, from its own newest state, or from its parent's state at the fork.

This is the only resume path: every worker takes it for every run, whatever happened before. The pack names the states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch

from grok_sweeps.arms import ARMS, Held
from grok_sweeps.errors import CorruptObjectError, LostParentError, NewerSchemaError
from grok_sweeps.store.checkpoints import StateReader, kept_state
from grok_sweeps.store.objects import for_each
from grok_sweeps.store.states import LaneState
from grok_sweeps.store.sweep import SweepStore
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
    """The starts of a pack's runs.

    A state is read when its run starts, together with those of other runs in the same object.

    Args:
        store: the sweep's objects.
        runs: runs that have more to do.
        skip: is told of damaged states, in whose place older ones are read.
    """

    def __init__(self, store: SweepStore, runs: Sequence[RunWork], skip: Callable[[CorruptObjectError], None]) -> None:
        self._store = store
        candidates = {run.run_id: run.states for run in runs}
        at_most = {run.run_id: run.horizon_steps for run in runs}
        self._states = StateReader(store.objects, candidates, at_most, skip)
        self._parents: dict[str, LaneState | LostParentError] = {}

    def read_ahead(self, runs: Sequence[RunWork]) -> None:
        """Read the states of runs that start at once, and those of their parents."""
        self._states.read([run.run_id for run in runs])
        self._read_parents(runs)

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
        state = self._states.take(run.run_id)
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
            run.extends_step,
        )

    def _parent(self, run: RunWork) -> LaneState:
        """The state a fork starts from, looked for once."""
        assert run.fork_of is not None
        self._read_parents([run])
        found = self._parents[run.fork_of]
        if isinstance(found, LostParentError):
            raise found
        return found

    def _read_parents(self, runs: Sequence[RunWork]) -> None:
        forks = {self._store.layout.state(*at): at for run in runs if (at := _fork_point(run)) is not None}
        new = [name for name, (run_id, _) in forks.items() if run_id not in self._parents]
        found = for_each(self._store.objects, lambda name: self._read_parent(*forks[name]), new)
        self._parents |= {forks[name][0]: parent for name, parent in zip(new, found, strict=True)}

    def _read_parent(self, run_id: str, step: int) -> LaneState | LostParentError:
        """A state as it is stored; a damaged one is deleted, so that its run counts as one to train again."""
        name = self._store.layout.state(run_id, step)
        try:
            state = kept_state(self._store, run_id, step)
        except NewerSchemaError:
            raise
        except CorruptObjectError as error:
            self._store.objects.delete(name)
            return LostParentError(f"{error} Forks start from it: run {run_id} is trained again.")
        return state or LostParentError(f"{name}: missing. Forks start from it: run {run_id} is trained again.")


def _fork_point(run: RunWork) -> tuple[str, int] | None:
    """The run that a fork starts from and the step; None of one that is no fork."""
    if run.fork_of is None:
        return None
    assert run.config.fork_step is not None
    return run.fork_of, run.config.fork_step


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
