"""gc: list what no run needs, and delete it when asked to."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated

import typer
from rich.table import Table

from grok_sweeps.cluster.cli.common import NoLeaseOption, StoreOption, app, console, store_at, warning_line
from grok_sweeps.cluster.doctor.store import PROBE_FOLDER
from grok_sweeps.cluster.views import size
from grok_sweeps.errors import LeaseHeldError, StoreError
from grok_sweeps.results import Store
from grok_sweeps.store import SweepStore
from grok_sweeps.store.compact import CHECK_EVERY
from grok_sweeps.store.lease import Lease
from grok_sweeps.store.retention import (
    LEFT_BEHIND,
    LEFTOVER_AGE_S,
    Unneeded,
    forked_elsewhere,
    is_at_work,
    leftovers,
    longer_budget,
    newest_time,
    unneeded_of_sweep,
)
from grok_sweeps.store.rows import PROGRESS_COLUMNS, RowLog
from grok_sweeps.store.take_lease import driver_lease


@app.command()
def gc(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="A sweep; without one, all.")] = None,
    store: StoreOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    no_lease: NoLeaseOption = False,
) -> None:
    """List what no run needs, with sizes; nothing is deleted without --delete."""
    opened, out = store_at(store), console()
    sweeps = [opened.sweep(name) for name in (opened.sweep_names() if sweep is None else [sweep])]
    now = _now(opened, [*(one.sweep for one in sweeps), *([PROBE_FOLDER] if sweep is None else [])], ask=bool(sweeps))
    wanted = forked_elsewhere([opened.sweep(name) for name in opened.sweep_names()])
    found = {one.sweep: _unneeded(one, wanted, now) for one in sweeps}
    if sweep is None:
        found["(doctor)"] = list(_probes(opened, now))
    table = Table("sweep", "what nobody needs", "objects", "size")
    for name, items in found.items():
        for why, group in _by_why(items).items():
            table.add_row(name, why, f"{len(group):,}", size(sum(item.n_bytes for item in group)))
    if table.row_count:
        out.print(table)
    driven: list[str] = []
    if delete:
        for one in sweeps:
            found[one.sweep], held = _deleted(one, found[one.sweep], wanted, now, no_lease=no_lease)
            driven += [held] if held else []
        _discard(found.get("(doctor)", ()))
    if not table.row_count:
        out.print("nothing to delete", highlight=False)
        return
    everything = [item for items in found.values() for item in items]
    total = f"{len(everything):,} objects, {size(sum(item.n_bytes for item in everything))}"
    out.print(f"deleted {total}" if delete else f"{total}; delete them with --delete", highlight=False)
    if driven:
        raise LeaseHeldError(f"nothing was deleted of {len(driven)} sweep(s) that are driven, the first: {driven[0]}")


def _now(store: Store, folders: Sequence[str], *, ask: bool) -> float:
    """The time by the store's clock; where it cannot be asked, that of the newest object, by which all are younger."""
    why = "it tells none"
    try:
        now = store.objects.server_time() if ask else None
    except StoreError as error:
        now, why = None, str(error).rstrip(".")
    if now is not None:
        return now
    if ask:
        warning_line(
            f"ages are counted up to the store's newest object, since its clock was not asked ({why}); what is "
            "younger than that allows is not listed."
        )
    return newest_time(store.objects, folders)


def _unneeded(store: SweepStore, wanted: frozenset[str], now: float) -> list[Unneeded]:
    plan, log = store.load_plan(), RowLog(store, PROGRESS_COLUMNS)
    if plan is None:
        return []
    log.refresh()  # before the states are looked at: what is finished by then has no use for them
    status = store.load_status()
    at_work, extend_to = is_at_work(store, status, now), longer_budget(status)
    return list(unneeded_of_sweep(store, plan, log.rows, wanted, at_work=at_work, now=now, extend_to=extend_to))


def _deleted(
    store: SweepStore, items: list[Unneeded], wanted: frozenset[str], now: float, *, no_lease: bool
) -> tuple[list[Unneeded], str | None]:
    """Delete what was listed of a sweep and is still not needed, under its lease.

    Returns what was deleted, and why nothing if the sweep is driven.
    """
    if not items:
        return [], None
    listed = {item.name for item in items}
    who = {"host": socket.gethostname(), "command": "gc --delete"}
    try:
        with driver_lease(store, who, no_lease=no_lease, tell=warning_line) as lease:
            # Looked at again: a driver may have begun and ended since it was listed.
            found = [item for item in _unneeded(store, wanted, now) if item.name in listed]
            _discard(found, lease)
            return found, None
    except LeaseHeldError as error:
        return [], str(error)


def _discard(items: Sequence[Unneeded], lease: Lease | None = None) -> None:
    for n, item in enumerate(items):
        if lease is not None and n % CHECK_EVERY == 0:
            lease.check()
        item.discard()


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
