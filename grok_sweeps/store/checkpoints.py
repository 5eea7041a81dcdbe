"""Where the states of runs are, and the newest of each.

`checkpoints/` holds the lanes of packs under way; `states/` the final states of runs that spent their budget, one a
file, from which forks start and a longer budget goes on. A search for the newest state of a run costs a small read a
checkpoint and none for a kept state, whose name says what it is. What is damaged is skipped with a warning that names
it, and the older state is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grok_sweeps.errors import CorruptObjectError, ObjectGoneError, UnreadableObjectWarning
from grok_sweeps.store.objects import for_each
from grok_sweeps.store.states import LaneState, encode_states, read_header, read_states
from grok_sweeps.store.sweep import SweepStore

_SEARCHES = 5


@dataclass(frozen=True, slots=True)
class StateRef:
    """Where a state of a run lies."""

    run_id: str
    step: int
    object_name: str


def load_newest(store: SweepStore, run_ids: Iterable[str], at_most: int | None = None) -> dict[str, LaneState]:
    """Load the newest whole state of each of `run_ids`, up to step `at_most`; a damaged one gives way to an older.

    A worker that still writes may replace a checkpoint between the search and the read; then the search begins again.
    """
    missing = set(run_ids)
    loaded: dict[str, LaneState] = {}
    for _ in range(_SEARCHES):
        found: dict[str, list[StateRef]] = {run_id: [] for run_id in missing}
        for ref in sorted((*_checkpointed(store), *kept(store)), key=lambda ref: ref.step):
            if ref.run_id in missing and (at_most is None or ref.step <= at_most):
                found[ref.run_id].append(ref)
        gone: set[str] = set()
        while newest := [found[run_id].pop() for run_id in sorted(missing - gone) if found[run_id]]:
            for name in dict.fromkeys(ref.object_name for ref in newest):
                steps = {ref.run_id: ref.step for ref in newest if ref.object_name == name}
                states = _load(store, name, steps)
                if states is None:
                    gone |= steps.keys()
                loaded |= {state.run_id: state for state in states or ()}
            missing -= loaded.keys()
        if not gone:
            break
    return loaded


def keep_state(store: SweepStore, state: LaneState, fence: int | None = None) -> None:
    """Keep a run's state under its own name."""
    store.objects.put(store.layout.state(state.run_id, state.step), encode_states([state], fence))


def kept_state(store: SweepStore, run_id: str, step: int) -> LaneState | None:
    """The state that was kept of a run at a step, or None.

    Raises:
        CorruptObjectError: it is damaged.
    """
    states = _read(store, store.layout.state(run_id, step), {run_id: step})
    if not states:
        return None
    if isinstance(states[0], CorruptObjectError):
        raise states[0]
    return states[0]


def kept_steps(store: SweepStore) -> dict[str, set[int]]:
    """The steps at which states of runs are kept, by run_id; read from their names alone."""
    steps: dict[str, set[int]] = {}
    for ref in kept(store):
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


def kept(store: SweepStore) -> list[StateRef]:
    """Every kept state."""
    refs = []
    for info in store.objects.list(store.layout.states):
        run_id, _, step = info.name.rsplit("/", 1)[-1].removesuffix(".safetensors").partition("@")
        if step.isdecimal():
            refs.append(StateRef(run_id, int(step), info.name))
    return refs


def look_for_checkpoints(store: SweepStore) -> tuple[list[StateRef], dict[str, CorruptObjectError]]:
    """Every lane of every checkpoint, from the headers alone; and the checkpoints that cannot be read."""

    def lanes(name: str) -> list[StateRef] | CorruptObjectError:
        try:
            file = store.objects.open(name)
            if file is None:
                return []
            with file:
                return [StateRef(run_id, lane["step"], name) for run_id, lane in read_header(file, name).lanes.items()]
        except ObjectGoneError:
            return []
        except CorruptObjectError as error:
            return error

    names = [i.name for i in store.objects.list(store.layout.checkpoints) if i.name.endswith(".safetensors")]
    refs: list[StateRef] = []
    unreadable: dict[str, CorruptObjectError] = {}
    for name, found in zip(names, for_each(store.objects, lanes, names), strict=True):
        if isinstance(found, CorruptObjectError):
            unreadable[name] = found
        else:
            refs += found
    return refs, unreadable


def _checkpointed(store: SweepStore) -> list[StateRef]:
    """Every lane of every checkpoint that can be read; a warning for each that cannot."""
    refs, unreadable = look_for_checkpoints(store)
    for error in unreadable.values():
        _skip(error)
    return refs


def _load(store: SweepStore, name: str, steps: Mapping[str, int]) -> list[LaneState] | None:
    """The whole states among `steps` in one object, with a warning for each of the others; None where it is gone."""
    try:
        states = _read(store, name, steps)
    except CorruptObjectError as error:
        _skip(error)
        return []
    for state in states or ():
        if isinstance(state, CorruptObjectError):
            _skip(state)
    return None if states is None else [state for state in states if isinstance(state, LaneState)]


def _read(store: SweepStore, name: str, steps: Mapping[str, int]) -> list[LaneState | CorruptObjectError] | None:
    try:
        file = store.objects.open(name)
        if file is None:
            return None
        with file:
            return read_states(file, name, steps)
    except ObjectGoneError:
        return None


def _skip(error: CorruptObjectError) -> None:
    warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=3)
