"""What a driver does for a pack, so that its worker has nothing to search for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grok_sweeps.plan import Plan, PlannedRun
from grok_sweeps.store import SweepStore
from grok_sweeps.store.rows import PROGRESS_COLUMNS, RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.train.work import PackWork, RunWork, load_work, pack_content, planned_work, with_states


def ready(store: SweepStore, runs: Iterable[RunWork]) -> tuple[RunWork, ...]:
    """Those of `runs` that have more to do, with the states that the store has of them."""
    log = RowLog(store, PROGRESS_COLUMNS)
    log.refresh()
    return tuple(with_states(runs, log.rows, StateIndex(store)))


def published(
    store: SweepStore,
    plan: Plan,
    pack_id: str,
    runs: Iterable[PlannedRun],
    extend_to: int | None = None,
    **how: Any,
) -> tuple[PackWork, dict[str, Any]]:
    """Write a pack of a plan's runs, and read it as its worker does."""
    left = ready(store, [planned_work(run, plan, extend_to) for run in runs])
    store.put_pack(pack_id, pack_content(left, **how))
    return load_work(store, pack_id)
