"""What of a sweep nobody needs any more, and how much room each kind of object takes.

Needed are, of every run that is not finished or that failed, its newest whole state; of a censored run its final
state, from which a longer budget goes on; of a run that forks start from, in this sweep or another, every state; and
all rows, all curves and what was written once. Looking deletes nothing, and what cannot be read is kept as long as a
run may still need it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from grok_sweeps.errors import NewerSchemaError
from grok_sweeps.plan.plan import Plan
from grok_sweeps.store.checkpoints import StateRef, kept_steps
from grok_sweeps.store.compact import held_long_ago
from grok_sweeps.store.objects import ObjectStore
from grok_sweeps.store.probe import PROBE
from grok_sweeps.store.rows import PROGRESS_COLUMNS, RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.todo import Rows, Todo

LEFTOVER_AGE_S = 24 * 3600.0
"""A temporary file or unfinished upload as old as this has lost its writer."""

LEFT_BEHIND = "left behind by a writer that died"
PACK_AGE_S = 600.0
"""Packs younger than this may be those of a driver that has just begun and was not heard of yet."""

AT_WORK_S = 120.0
"""A driver whose heartbeat was written within this time may be at work: more than it takes to show it as lost."""


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Something that can be deleted, its size in bytes, and why nobody needs it."""

    name: str
    n_bytes: int
    why: str
    discard: Callable[[], None] = field(repr=False)


def bytes_by_kind(store: SweepStore) -> dict[str, int]:
    """Bytes of a sweep's objects by folder (rows, curves, checkpoints, …); `sweep` for what lies in none."""
    sizes: Counter[str] = Counter()
    for info in store.objects.list(store.sweep):
        folder, _, file = info.name.removeprefix(f"{store.sweep}/").partition("/")
        sizes[folder if file else "sweep"] += info.size
    return dict(sizes)


def forked_elsewhere(stores: Iterable[SweepStore]) -> frozenset[str]:
    """The runs, SWEEP/RUN_ID, from whose states runs of `stores` that are not finished may go on."""
    wanted = set()
    for store in stores:
        plan = store.load_plan()
        if plan is None or not any(run.origin for run in plan.runs):
            continue
        log = RowLog(store, PROGRESS_COLUMNS)
        log.refresh()
        todo = Todo(plan, longer_budget(store.load_status()), kept_steps(store))
        wanted |= {run.origin for run in todo.runs(log.rows) if run.origin}
    return frozenset(wanted)


def longer_budget(status: Mapping[str, Any] | None) -> int | None:
    """The longer budget that the last driver was given and has not finished, or None."""
    return None if not status or status.get("state") == "finished" else status.get("extend_to")


def is_at_work(store: SweepStore, status: Mapping[str, Any] | None, now: float) -> bool:
    """Whether a driver is at work, by the store's clock alone: it writes its heartbeat every few seconds."""
    if not status or status.get("state") != "running":
        return False
    written = [i.modified for i in store.objects.list(store.sweep) if i.name == store.layout.status]
    return any(now - modified <= AT_WORK_S for modified in written)


def newest_time(objects: ObjectStore, prefixes: Iterable[str]) -> float:
    """A lower bound of the store's clock: when the newest object below the folders was written."""
    return max((info.modified for prefix in prefixes for info in objects.list(prefix)), default=0.0)


def unneeded_of_sweep(
    store: SweepStore,
    plan: Plan,
    rows: Rows,
    wanted: Collection[str],
    *,
    at_work: bool,
    now: float,
    extend_to: int | None = None,
) -> Iterator[Unneeded]:
    """Yield what of a sweep nobody needs.

    Args:
        store: the sweep.
        plan: its plan.
        rows: its rows, by run_id.
        wanted: runs, SWEEP/RUN_ID, whose states other sweeps' runs may go on from.
        at_work: whether a driver is at work on it.
        now: the time by the clock that dates the objects, in seconds since the epoch, or an earlier one.
        extend_to: the longer budget that its last driver was given.
    """
    infos = {info.name: info for info in store.objects.list(store.sweep)}
    index = StateIndex(store, warn=False)
    todo = frozenset(run.run_id for run in Todo(plan, extend_to, index.kept).runs(rows))
    forked = frozenset(run.run_id for run in plan.runs if f"{store.sweep}/{run.run_id}" in wanted)
    ended = {run_id: row for run_id, row in rows.items() if run_id not in todo and row["outcome"] != "failed"}
    finished = {run_id: row["steps_run"] for run_id, row in ended.items()}
    lanes, states = index.checkpointed, index.final
    whys = _checkpoints(_Newest(index, [*lanes, *states]), lanes, plan.run_ids(), finished, forked)
    whys |= _states(_Newest(index, states), states, plan.run_ids(), rows, forked | plan.fork_parents.keys())
    if not todo and not at_work:
        broken = [name for name, error in index.unreadable.items() if not isinstance(error, NewerSchemaError)]
        whys |= dict.fromkeys(broken, "cannot be read")
        packs = [i.name for i in infos.values() if i.name.startswith(f"{store.layout.packs}/")]
        old = [name for name in packs if now - infos[name].modified >= PACK_AGE_S]
        whys |= dict.fromkeys(old, "packs of a finished sweep")
    for info in infos.values():
        is_passing = info.name.startswith((store.layout.compacting, f"{store.sweep}/{PROBE}"))
        if is_passing and now - info.modified >= LEFTOVER_AGE_S:
            whys[info.name] = LEFT_BEHIND
    for folder in (store.layout.rows, store.layout.curves):
        whys |= dict.fromkeys(held_long_ago(store, folder, now), "compacted")
    for name, why in whys.items():
        if name in infos:
            yield Unneeded(name, infos[name].size, why, partial(store.objects.delete, name))
    yield from leftovers(store.objects, store.sweep, now)


def leftovers(objects: ObjectStore, prefix: str, now: float) -> Iterator[Unneeded]:
    """Yield what writers that died left behind below a folder."""
    for left in objects.leftovers(prefix):
        if now - left.info.modified >= LEFTOVER_AGE_S:
            yield Unneeded(left.info.name, left.info.size, LEFT_BEHIND, left.discard)


class _Newest:
    """The step of a run's newest state among `refs`, if it can really be read; looked up once a run."""

    def __init__(self, index: StateIndex, refs: Iterable[StateRef]) -> None:
        self._index = index
        self._named: dict[str, int] = {}
        self._read: dict[str, int] = {}
        for ref in refs:
            self._named[ref.run_id] = max(ref.step, self._named.get(ref.run_id, -1))

    def supersedes(self, ref: StateRef) -> bool:
        """Whether there is a newer state of the run."""
        if ref.step >= self._named[ref.run_id]:
            return False
        if ref.run_id not in self._read:
            found = self._index.load_newest([ref.run_id]).get(ref.run_id)
            self._read[ref.run_id] = -1 if found is None else found.step
        return ref.step < self._read[ref.run_id]


def _checkpoints(
    newest: _Newest,
    refs: Iterable[StateRef],
    planned: Collection[str],
    finished: Mapping[str, int],
    forked: Collection[str],
) -> dict[str, str]:
    """Checkpoints none of whose lanes is needed, and why; `finished` are steps by run_id."""

    def why_not(ref: StateRef) -> str:
        if ref.run_id not in planned:
            return "of runs that the plan does not have"
        if ref.run_id in forked:
            return ""
        if finished.get(ref.run_id, -1) >= ref.step:
            return "of finished runs"
        return "superseded" if newest.supersedes(ref) else ""

    reasons: dict[str, list[str]] = defaultdict(list)
    for ref in refs:
        reasons[ref.object_name].append(why_not(ref))
    return {name: whys[0] for name, whys in reasons.items() if all(whys)}


def _states(
    newest: _Newest, refs: Iterable[StateRef], planned: Collection[str], rows: Rows, held: Collection[str]
) -> dict[str, str]:
    """Kept states that nobody needs, and why."""
    whys = {}
    for ref in refs:
        row = rows.get(ref.run_id)
        if ref.run_id not in planned:
            whys[ref.object_name] = "of runs that the plan does not have"
        elif ref.run_id in held or row is None or ref.step >= row["steps_run"]:
            continue
        elif row["outcome"] in ("grokked", "diverged") or newest.supersedes(ref):
            whys[ref.object_name] = "superseded"
    return whys
