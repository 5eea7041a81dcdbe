"""gc: list what no run needs, and delete it when asked to."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated

import typer
from rich.table import Table

from grok_sweeps.cluster.cli.common import StoreOption, app, console, store_at
from grok_sweeps.cluster.doctor.store import PROBE_FOLDER
from grok_sweeps.cluster.views import size
from grok_sweeps.progress import measure_progress
from grok_sweeps.results import Store
from grok_sweeps.store import SweepStore
from grok_sweeps.store.retention import (
    LEFT_BEHIND,
    LEFTOVER_AGE_S,
    Unneeded,
    forked_elsewhere,
    leftovers,
    unneeded_of_sweep,
)
from grok_sweeps.store.rows import PROGRESS_COLUMNS, RowLog


@app.command()
def gc(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="A sweep; without one, all.")] = None,
    store: StoreOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
) -> None:
    """List what no run needs, with sizes; nothing is deleted without --delete."""
    opened, out = store_at(store), console()
    sweeps = [opened.sweep(name) for name in (opened.sweep_names() if sweep is None else [sweep])]
    wanted = forked_elsewhere([opened.sweep(name) for name in opened.sweep_names()])
    found = {one.sweep: _unneeded(one, wanted) for one in sweeps}
    if sweep is None:
        found["(doctor)"] = list(_probes(opened, time.time()))
    table = Table("sweep", "what nobody needs", "objects", "size")
    for name, items in found.items():
        for why, group in _by_why(items).items():
            table.add_row(name, why, f"{len(group):,}", size(sum(item.n_bytes for item in group)))
    everything = [item for items in found.values() for item in items]
    total = f"{len(everything):,} objects, {size(sum(item.n_bytes for item in everything))}"
    if not everything:
        out.print("nothing to delete", highlight=False)
        return
    out.print(table)
    if delete:
        for item in everything:
            item.discard()
    out.print(f"deleted {total}" if delete else f"{total}; delete them with --delete", highlight=False)


def _unneeded(store: SweepStore, wanted: frozenset[str]) -> list[Unneeded]:
    plan, log = store.load_plan(), RowLog(store, PROGRESS_COLUMNS)
    if plan is None:
        return []
    log.refresh()  # before the states are looked at: what is finished by then has no use for them
    at_work = measure_progress(store.sweep, plan, log.rows, store.load_status()).state == "running"
    return list(unneeded_of_sweep(store, plan, log.rows, wanted, at_work=at_work, now=time.time()))


def _probes(store: Store, now: float) -> Iterator[Unneeded]:
    """What a doctor that died has left."""
    objects = store.objects
    for info in objects.list(PROBE_FOLDER):
        if now - info.modified >= LEFTOVER_AGE_S:
            yield Unneeded(info.name, info.size, LEFT_BEHIND, partial(objects.delete, info.name))
    yield from leftovers(objects, PROBE_FOLDER, now)


def _by_why(items: Sequence[Unneeded]) -> dict[str, list[Unneeded]]:
    groups: dict[str, list[Unneeded]] = defaultdict(list)
    for item in items:
        groups[item.why].append(item)
    return groups
