"""Files of run states: safetensors with a JSON header that names every lane's run, step and bookkeeping.

Every tensor is stored under `<run_id>/<name>`. A SHA-256 over each lane's tensors and facts stands in the header; a
lane that does not match it, and a file that does not parse, are refused. Safetensors hold no code, so reading a foreign
file is safe.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import save

from grok_sweeps.errors import CorruptObjectError, NewerSchemaError
from grok_sweeps.schema import SCHEMA_VERSION

MAX_HEADER_BYTES = 100 << 20
_GAP_BYTES = 1 << 20
"""Bytes that are read and thrown away sooner than asked for apart."""
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
class Header:
    """What a file says of itself: lanes by run_id, tensor entries by key, and where the data starts."""

    lanes: Mapping[str, Mapping[str, Any]]
    entries: Mapping[str, Mapping[str, Any]]
    start: int


def encode_states(states: Sequence[LaneState], fence: int | None = None) -> bytes:
    """Safetensors bytes of `states`, written under the lease of this fence."""
    lanes = [{"run_id": s.run_id, "step": s.step, "facts": dict(s.facts), "sha256": s.checksum()} for s in states]
    tensors = {f"{s.run_id}/{k}": np.ascontiguousarray(v) for s in states for k, v in s.tensors.items()}
    metadata = {"schema": str(SCHEMA_VERSION), "lanes": json.dumps(lanes)}
    return bytes(save(tensors, metadata=metadata if fence is None else {**metadata, "fence": str(fence)}))


def read_header(file: BinaryIO, name: str) -> Header:
    """Read the header of the file `name`.

    Raises:
        CorruptObjectError: it has none of this project's, or one of a newer schema.
    """
    try:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ValueError("no header")
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__")
        if int(metadata["schema"]) > SCHEMA_VERSION:
            raise NewerSchemaError(name, metadata["schema"], SCHEMA_VERSION)
        lanes = {str(lane["run_id"]): {**lane, "step": int(lane["step"])} for lane in json.loads(metadata["lanes"])}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CorruptObjectError(f"{name}: not a checkpoint of this project.") from error
    return Header(lanes, header, 8 + length)


def read_states(file: BinaryIO, name: str, steps: Mapping[str, int]) -> list[LaneState | CorruptObjectError]:
    """Read the runs in `steps`, each expected at its step, from the file `name`; in a damaged one's place, why.

    Raises:
        CorruptObjectError: the file as a whole cannot be read.
    """
    header = read_header(file, name)
    entries = {key: entry for key, entry in header.entries.items() if key.partition("/")[0] in steps}
    tensors = _read_tensors(file, name, entries, header.start)
    return [_state(name, run_id, step, header, tensors) for run_id, step in steps.items()]


def _state(
    name: str, run_id: str, step: int, header: Header, tensors: Mapping[str, np.ndarray]
) -> LaneState | CorruptObjectError:
    own = {key.partition("/")[2]: array for key, array in tensors.items() if key.startswith(f"{run_id}/")}
    try:
        lane = header.lanes[run_id]
        state = LaneState(run_id, step, own, lane["facts"])
        whole = state.checksum() == lane["sha256"] and lane["step"] == step
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        return CorruptObjectError(f"{name}: the state of run {run_id} does not match its checksum.")
    return state


def _read_tensors(
    file: BinaryIO, name: str, entries: Mapping[str, Mapping[str, Any]], start: int
) -> dict[str, np.ndarray]:
    """Read tensors whose data begins at `start`; those that lie close together in one read."""
    tensors = {}
    try:
        n_bytes = file.seek(0, io.SEEK_END) - start
        for keys in _close_together(entries):
            first = min(entries[key]["data_offsets"][0] for key in keys)
            last = max(entries[key]["data_offsets"][1] for key in keys)
            if not 0 <= first <= last <= n_bytes:
                raise ValueError("cut off")
            file.seek(start + first)
            data = file.read(last - first)
            for key in keys:
                begin, end = entries[key]["data_offsets"]
                flat: np.ndarray = np.frombuffer(data[begin - first : end - first], _DTYPES[entries[key]["dtype"]])
                tensors[key] = flat.reshape(entries[key]["shape"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise CorruptObjectError(f"{name}: truncated or foreign.") from error
    return tensors


def _close_together(entries: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Keys in groups, each of which one read brings."""
    groups: list[list[str]] = []
    reached = 0
    for key in sorted(entries, key=lambda key: tuple(entries[key]["data_offsets"])):
        begin, end = entries[key]["data_offsets"]
        if not groups or begin - reached > _GAP_BYTES:
            groups.append([])
        groups[-1].append(key)
        reached = max(reached, end)
    return groups
