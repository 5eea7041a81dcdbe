"""States of runs in the store: where each lies, and how the newest whole one is read.

`checkpoints/` holds the lanes of packs under way; `states/` the final states of runs that spent their budget, one a
file, from which forks start and a longer budget goes on. A reader is given the candidates of each run, newest first
(`state_index` finds them), so that reading a state costs one request however much the store holds. A damaged state
gives way to the next candidate, and is named.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from grok_sweeps.errors import CorruptObjectError, ObjectGoneError, UnreadableObjectWarning
from grok_sweeps.store.layout import Layout
from grok_sweeps.store.objects import ObjectStore, for_each
from grok_sweeps.store.states import LaneState, encode_states, read_header, read_states
from grok_sweeps.store.sweep import SweepStore

MOST_LOOKS = 3
"""How often one reader looks into a pack's folder whose checkpoints go while it reads."""

Found = list[LaneState | CorruptObjectError]


@dataclass(frozen=True, slots=True)
class StateRef:
    """Where a state of a run lies. `lanes` counts the states in that object."""

    run_id: str
    step: int
    object_name: str
    lanes: int = 1


class StateReader:
    """Reads one state a run: the newest of its candidates that is whole.

    A checkpoint that is gone was replaced by a worker that still writes. Then its pack's folder is listed, and no
    other. An object is read once for all runs whose newest candidate it holds.

    Args:
        objects: the store.
        candidates: where states of a run lie, newest first, by any key of the run.
        at_most: the last step of which a state is wanted, by the same key; any where it has none.
        skip: is told of what is damaged.
    """

    def __init__(
        self,
        objects: ObjectStore,
        candidates: Mapping[str, Sequence[StateRef]],
        at_most: Mapping[str, int],
        skip: Callable[[CorruptObjectError], None],
    ) -> None:
        self._objects, self._at_most, self._skip = objects, at_most, skip
        self._candidates: dict[str, list[StateRef]] = {}
        self._sharing: dict[str, list[str]] = {}
        self._states: dict[str, LaneState] = {}
        self._looks: Counter[str] = Counter()
        for key, refs in candidates.items():
            self._try_next(key, refs)

    def read(self, keys: Iterable[str]) -> None:
        """Read the states of these runs now, at once where the store is across a network."""
        keys = list(keys)
        while names := list(dict.fromkeys(self._candidates[k][0].object_name for k in keys if k in self._candidates)):
            asked = {name: tuple(self._sharing[name]) for name in names}  # before an answer adds to them
            for name, found in zip(names, self._read_objects(asked), strict=True):
                self._sort(name, asked[name], found)

    def take(self, key: str) -> LaneState | None:
        """A run's state, which the reader then forgets; None where no candidate is whole."""
        self.read([key])
        return self._states.pop(key, None)

    def _try_next(self, key: str, refs: Sequence[StateRef]) -> None:
        if refs:
            self._candidates[key] = list(refs)
            self._sharing.setdefault(refs[0].object_name, []).append(key)

    def _read_objects(self, asked: Mapping[str, Sequence[str]]) -> Iterator[Found | CorruptObjectError | None]:
        """What each object holds of the runs asked for, by its name, in their order."""
        return for_each(self._objects, lambda name: self._read_object(name, asked[name]), list(asked))

    def _read_object(self, name: str, keys: Sequence[str]) -> Found | CorruptObjectError | None:
        """What these runs want of an object; why it cannot be read, or None where it is gone."""
        refs = [self._candidates[key][0] for key in keys]
        steps = {ref.run_id: ref.step for ref in refs}
        try:
            return _read(self._objects, name, steps, whole=2 * len(steps) >= refs[0].lanes)
        except CorruptObjectError as error:
            return error

    def _sort(self, name: str, keys: Sequence[str], found: Found | CorruptObjectError | None) -> None:
        """Keep the states that were found; the other runs that asked have their next candidates."""
        if later := [key for key in self._sharing.pop(name) if key not in keys]:
            self._sharing[name] = later
        if isinstance(found, CorruptObjectError):
            found = [found]
        replaced = self._look_again(name) if found is None else {}
        states = {state.run_id: state for state in found or () if isinstance(state, LaneState)}
        for damaged in found or ():
            if isinstance(damaged, CorruptObjectError):
                self._skip(damaged)
        for key in keys:
            ref, *others = self._candidates.pop(key)
            if ref.run_id in states:
                self._states[key] = states[ref.run_id]
                continue
            newer = [r for r in replaced.get(ref.run_id, ()) if r.step <= self._at_most.get(key, r.step)]
            self._try_next(key, sorted(dict.fromkeys((*newer, *others)), key=lambda r: -r.step))

    def _look_again(self, name: str) -> dict[str, list[StateRef]]:
        """The states in the folder of a checkpoint that is gone, by run_id."""
        folder = name.rpartition("/")[0]
        self._looks[folder] += 1
        if Layout.is_kept_state(name) or self._looks[folder] > MOST_LOOKS:
            return {}
        by_run: dict[str, list[StateRef]] = {}
        for lanes in read_headers(self._objects, folder).values():
            if isinstance(lanes, CorruptObjectError):
                self._skip(lanes)
                continue
            for ref in lanes:
                by_run.setdefault(ref.run_id, []).append(ref)
        return by_run


def keep_state(store: SweepStore, state: LaneState, fence: int | None = None) -> None:
    """Keep a run's state under its own name."""
    store.objects.put(store.layout.state(state.run_id, state.step), encode_states([state], fence))


def kept_state(store: SweepStore, run_id: str, step: int) -> LaneState | None:
    """The state that was kept of a run at a step, or None.

    Raises:
        CorruptObjectError: it is damaged.
    """
    states = _read(store.objects, store.layout.state(run_id, step), {run_id: step}, whole=True)
    if not states:
        return None
    if isinstance(states[0], CorruptObjectError):
        raise states[0]
    return states[0]


def kept_steps(store: SweepStore) -> dict[str, set[int]]:
    """The steps at which states of runs are kept, by run_id; read from their names alone."""
    steps: dict[str, set[int]] = {}
    for info in store.objects.list(store.layout.states):
        run_id, _, step = info.name.rsplit("/", 1)[-1].removesuffix(".safetensors").partition("@")
        if step.isdecimal():
            steps.setdefault(run_id, set()).add(int(step))
    return steps


def read_headers(
    objects: ObjectStore, folder: str, known: Collection[str] = ()
) -> dict[str, list[StateRef] | CorruptObjectError]:
    """The lanes of every checkpoint below a folder, or why it cannot be read; none of those whose header is `known`."""

    def lanes(name: str) -> list[StateRef] | CorruptObjectError:
        try:
            file = objects.open(name)
            if file is None:
                return []
            with file:
                found = read_header(file, name).lanes
        except ObjectGoneError:
            return []
        except CorruptObjectError as error:
            return error
        return [StateRef(run_id, lane["step"], name, len(found)) for run_id, lane in found.items()]

    names = [info.name for info in objects.list(folder) if info.name.endswith(".safetensors")]
    new = [name for name in names if name not in known]
    read = dict(zip(new, for_each(objects, lanes, new), strict=True))
    return {name: read.get(name, []) for name in names}


def warn_of_skipped(error: CorruptObjectError) -> None:
    """Warn of a damaged object that is left out."""
    warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=3)


def _read(objects: ObjectStore, name: str, steps: Mapping[str, int], *, whole: bool) -> Found | None:
    """States in one object, which is read whole or in parts; None where it is gone."""
    try:
        file = _whole(objects, name) if whole else objects.open(name)
        if file is None:
            return None
        with file:
            return read_states(file, name, steps)
    except ObjectGoneError:
        return None


def _whole(objects: ObjectStore, name: str) -> BinaryIO | None:
    data = objects.get(name)
    return None if data is None else io.BytesIO(data)
