"""Where the states of a sweep's runs are: what a driver knows, so that no worker has to search for it.

The index is read once. After an attempt at a pack has ended it looks into that pack's folder alone, so what an event
costs does not depend on how much the store holds. A worker that is thought dead may write on: what the index says may
be out of date, and whoever reads a state finds a newer one in the same folder (`checkpoints.StateReader`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from grok_sweeps.errors import CorruptObjectError
from grok_sweeps.plan.plan import PlannedRun
from grok_sweeps.store.checkpoints import StateReader, StateRef, kept_steps, read_headers, warn_of_skipped
from grok_sweeps.store.objects import for_each
from grok_sweeps.store.states import LaneState
from grok_sweeps.store.sweep import SweepStore

MOST_CANDIDATES = 3
"""States a run may go on from: the newest, and those that take its place where it is damaged."""


class StateIndex:
    """The states of one sweep's runs.

    `unreadable` says why checkpoints cannot be read, by their names.

    Args:
        store: the sweep.
        warn: whether to warn of checkpoints that cannot be read.
    """

    def __init__(self, store: SweepStore, *, warn: bool = True) -> None:
        self._store, self._warn = store, warn
        self._lanes: dict[str, list[StateRef]] = {}
        self._of_run: dict[str, dict[str, StateRef]] = {}
        self._of_pack: dict[str, set[str]] = {}
        self._others: dict[str, StateIndex] = {}
        self.unreadable: dict[str, CorruptObjectError] = {}
        self._look()

    @cached_property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """The steps at which final states are kept, by run_id; listed when they are first asked for."""
        return {run_id: tuple(steps) for run_id, steps in kept_steps(self._store).items()}

    @property
    def checkpointed(self) -> list[StateRef]:
        """Every lane of every checkpoint that can be read."""
        return [ref for lanes in self._lanes.values() for ref in lanes]

    @property
    def final(self) -> list[StateRef]:
        """Every final state that is kept."""
        return [ref for run_id in self.kept for ref in self._final_of(run_id)]

    def refresh(self) -> None:
        """List everything again; headers that are known are not read again."""
        self._look()
        vars(self).pop("kept", None)

    def refresh_pack(self, pack_id: str, parents: Iterable[PlannedRun] = ()) -> None:
        """Look again into one pack's folder, and for the final states of `parents`, its runs that forks start from."""
        self._look(pack_id)
        asked = [run for run in parents if run.config.max_steps not in self.kept.get(run.run_id, ())]
        names = [self._store.layout.state(run.run_id, run.config.max_steps) for run in asked]
        for run, there in zip(asked, for_each(self._store.objects, self._is_there, names), strict=True):
            if there:
                self.kept[run.run_id] = (*self.kept.get(run.run_id, ()), run.config.max_steps)

    def candidates(self, run_id: str, at_most: int | None = None) -> tuple[StateRef, ...]:
        """The newest states of a run, newest first, up to step `at_most`."""
        refs = (*self._final_of(run_id), *self._of_run.get(run_id, {}).values())
        wanted = [ref for ref in refs if at_most is None or ref.step <= at_most]
        return tuple(sorted(wanted, key=lambda ref: -ref.step)[:MOST_CANDIDATES])

    def candidates_of_origin(self, origin: str, at_most: int) -> tuple[StateRef, ...]:
        """The same of a stored run, SWEEP/RUN_ID, of another sweep."""
        sweep, _, run_id = origin.partition("/")
        if sweep not in self._others:
            self._others[sweep] = StateIndex(SweepStore(self._store.objects, sweep), warn=self._warn)
        return self._others[sweep].candidates(run_id, at_most)

    def load_newest(self, run_ids: Iterable[str], at_most: int | None = None) -> dict[str, LaneState]:
        """Load the newest whole state of each of `run_ids`, up to step `at_most`."""
        run_ids = list(run_ids)
        limits = {} if at_most is None else dict.fromkeys(run_ids, at_most)
        candidates = {run_id: self.candidates(run_id, at_most) for run_id in run_ids}
        reader = StateReader(self._store.objects, candidates, limits, warn_of_skipped)
        reader.read(run_ids)
        return {run_id: state for run_id in run_ids if (state := reader.take(run_id)) is not None}

    def delete_finished(self, steps_run: Mapping[str, int]) -> None:
        """Delete checkpoints whose every run has a row with as many steps; `steps_run` are the rows', by run_id."""
        for name, lanes in list(self._lanes.items()):
            if lanes and all(steps_run.get(ref.run_id, -1) >= ref.step for ref in lanes):
                self._store.objects.delete(name)
                self._forget(name)

    def _final_of(self, run_id: str) -> list[StateRef]:
        return [StateRef(run_id, step, self._store.layout.state(run_id, step)) for step in self.kept.get(run_id, ())]

    def _look(self, pack_id: str | None = None) -> None:
        """Read the headers of new checkpoints, of one pack or of all, and forget those that are gone."""
        folder = self._store.layout.checkpoints
        found = read_headers(self._store.objects, f"{folder}/{pack_id}" if pack_id else folder, self._lanes)
        known = self._of_pack.get(pack_id, ()) if pack_id else self._lanes
        for name in [name for name in known if name not in found]:
            self._forget(name)
        for name in found.keys() - self._lanes.keys():
            lanes = found[name]
            if isinstance(lanes, CorruptObjectError):
                self.unreadable[name], lanes = lanes, []
                if self._warn:
                    warn_of_skipped(self.unreadable[name])
            self._lanes[name] = lanes
            self._of_pack.setdefault(self._pack_of(name), set()).add(name)
            for ref in lanes:
                self._of_run.setdefault(ref.run_id, {})[name] = ref

    def _forget(self, name: str) -> None:
        self.unreadable.pop(name, None)
        self._of_pack[self._pack_of(name)].discard(name)
        for ref in self._lanes.pop(name):
            del self._of_run[ref.run_id][name]

    def _pack_of(self, name: str) -> str:
        return name.removeprefix(f"{self._store.layout.checkpoints}/").partition("/")[0]

    def _is_there(self, name: str) -> bool:
        file = self._store.objects.open(name)
        if file is not None:
            file.close()
        return file is not None
