"""Run states as safetensors: written whole, found by their headers, read one lane at a time.

`checkpoints/` holds the lanes of packs under way; `states/` the final states of runs that spent their budget, one a
file, from which forks start and a longer budget goes on.

The file's JSON header names every lane's run, step and bookkeeping, so a search for the newest state of a run costs a
small read a file. Every tensor is stored under `<run_id>/<name>`. A SHA-256 over each lane's tensors and facts stands
in the header; a lane that does not match it, or a file that does not parse, is skipped with a warning and the older
state is used. Safetensors hold no code, so reading a foreign file is safe.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import save

from grok_sweeps.errors import CorruptObjectError
from grok_sweeps.schema import SCHEMA_VERSION
from grok_sweeps.store.rows import UnreadableObjectWarning
from grok_sweeps.store.sweep import SweepStore

MAX_HEADER_BYTES = 100 << 20
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}


@dataclass(frozen=True)
class LaneState:
    """Everything a run needs to go on: tensors by name, and small facts (JSON values) such as time spent."""

    run_id: str
    step: int
    tensors: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def sha256(self, names: Iterable[str] | None = None) -> str:
        """SHA-256 over step, names, shapes and bytes of the tensors (all, or `names`)."""
        digest = hashlib.sha256(str(self.step).encode())
        for name in sorted(self.tensors if names is None else names):
            array = np.ascontiguousarray(self.tensors[name])
            digest.update(f"|{name}:{array.dtype.str}{array.shape}|".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def checksum(self) -> str:
        """SHA-256 over the whole state, facts included."""
        facts = json.dumps(dict(self.facts), sort_keys=True)
        return hashlib.sha256(f"{self.sha256()}{facts}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StateRef:
    """Where the newest state of a run lies."""

    run_id: str
    step: int
    object_name: str


def encode_states(states: Sequence[LaneState]) -> bytes:
    """Safetensors bytes of `states`."""
    lanes = [{"run_id": s.run_id, "step": s.step, "facts": dict(s.facts), "sha256": s.checksum()} for s in states]
    tensors = {f"{s.run_id}/{k}": np.ascontiguousarray(v) for s in states for k, v in s.tensors.items()}
    return bytes(save(tensors, metadata={"schema": str(SCHEMA_VERSION), "lanes": json.dumps(lanes)}))


def load_newest(store: SweepStore, run_ids: Iterable[str], at_most: int | None = None) -> dict[str, LaneState]:
    """Load the newest whole state of each of `run_ids`, up to step `at_most`; a damaged one gives way to an older."""
    wanted = frozenset(run_ids)
    refs = [r for r in (*_checkpointed(store), *_kept(store)) if r.run_id in wanted]
    refs = sorted((r for r in refs if at_most is None or r.step <= at_most), key=lambda r: -r.step)
    loaded: dict[str, LaneState] = {}
    for ref in refs:
        if ref.run_id in loaded:
            continue
        try:
            state = _load(store, ref)
        except CorruptObjectError as error:
            warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=2)
            continue
        if state is not None:
            loaded[ref.run_id] = state
    return loaded


def keep_state(store: SweepStore, state: LaneState) -> None:
    """Keep a run's state under its own name."""
    store.objects.put(store.layout.state(state.run_id, state.step), encode_states([state]))


def kept_state(store: SweepStore, run_id: str, step: int) -> LaneState | None:
    """The state that was kept of a run at a step, or None.

    Raises:
        CorruptObjectError: it is damaged.
    """
    return _load(store, StateRef(run_id, step, store.layout.state(run_id, step)))


def kept_steps(store: SweepStore) -> dict[str, set[int]]:
    """The steps at which states of runs are kept, by run_id; read from their names alone."""
    steps: dict[str, set[int]] = {}
    for ref in _kept(store):
        steps.setdefault(ref.run_id, set()).add(ref.step)
    return steps


def delete_finished(store: SweepStore, steps_run: Mapping[str, int]) -> None:
    """Delete checkpoints whose every run has a row with as many steps; `steps_run` are the rows', by run_id."""
    needed: dict[str, bool] = {}
    for ref in _checkpointed(store):
        needed[ref.object_name] = needed.get(ref.object_name, False) or steps_run.get(ref.run_id, -1) < ref.step
    for name, is_needed in needed.items():
        if not is_needed:
            store.objects.delete(name)


def _kept(store: SweepStore) -> list[StateRef]:
    refs = []
    for info in store.objects.list(store.layout.states):
        run_id, _, step = info.name.rsplit("/", 1)[-1].removesuffix(".safetensors").partition("@")
        if step.isdecimal():
            refs.append(StateRef(run_id, int(step), info.name))
    return refs


def _checkpointed(store: SweepStore) -> list[StateRef]:
    refs = []
    for info in store.objects.list(store.layout.checkpoints):
        if not info.name.endswith(".safetensors"):
            continue
        file = store.objects.open(info.name)
        if file is None:
            continue
        with file:
            try:
                lanes, _, _ = _read_header(file, info.name)
            except CorruptObjectError as error:
                warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=2)
                continue
        refs += [StateRef(lane["run_id"], lane["step"], info.name) for lane in lanes.values()]
    return refs


def _load(store: SweepStore, ref: StateRef) -> LaneState | None:
    file = store.objects.open(ref.object_name)
    if file is None:
        return None
    with file:
        lanes, entries, start = _read_header(file, ref.object_name)
        try:
            tensors = {
                key.removeprefix(f"{ref.run_id}/"): _read_tensor(file, entry, start)
                for key, entry in entries.items()
                if key.startswith(f"{ref.run_id}/")
            }
            state = LaneState(ref.run_id, ref.step, tensors, lanes[ref.run_id]["facts"])
            whole = state.checksum() == lanes[ref.run_id]["sha256"] and lanes[ref.run_id]["step"] == ref.step
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CorruptObjectError(f"{ref.object_name}: truncated or foreign at run {ref.run_id}.") from error
    if not whole:
        raise CorruptObjectError(f"{ref.object_name}: the state of run {ref.run_id} does not match its checksum.")
    return state


def _read_tensor(file: BinaryIO, entry: Mapping[str, Any], start: int) -> np.ndarray:
    begin, end = entry["data_offsets"]
    file.seek(start + begin)
    flat: np.ndarray = np.frombuffer(file.read(end - begin), _DTYPES[entry["dtype"]])
    return flat.reshape(entry["shape"])


def _read_header(file: BinaryIO, name: str) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Lanes by run_id, tensor entries by key, and where the data starts."""
    try:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ValueError("no header")
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__")
        if int(metadata["schema"]) > SCHEMA_VERSION:
            raise CorruptObjectError(f"{name}: written with schema {metadata['schema']}; upgrade grok-sweeps.")
        lanes = {str(lane["run_id"]): {**lane, "step": int(lane["step"])} for lane in json.loads(metadata["lanes"])}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CorruptObjectError(f"{name}: not a checkpoint of this project.") from error
    return lanes, header, 8 + length
