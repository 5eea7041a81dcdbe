"""doctor: try out what a sweep needs, and say how to mend what does not work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grok_sweeps.cluster.cli.common import StoreOption, app, console
from grok_sweeps.cluster.doctor import Check, Level
from grok_sweeps.cluster.doctor.jobs import check_jobs_server
from grok_sweeps.cluster.doctor.machine import check_machine
from grok_sweeps.cluster.doctor.store import check_store
from grok_sweeps.cluster.settings import default_store, ray_token
from grok_sweeps.errors import StoreError
from grok_sweeps.provenance import package_version
from grok_sweeps.store import open_objects
from grok_sweeps.store.retries import Retries

STORE_WAIT_S = 10.0
"""How long a store that does not answer is waited for: a doctor's patient is standing by."""
_COLOURS = {Level.ok: "green", Level.warning: "yellow", Level.failure: "red"}


@app.command()
def doctor(
    store: StoreOption = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="URL", help="A Ray jobs server, http://HOST:8265.")
    ] = None,
) -> None:
    """Try out the store, this machine and a Ray jobs server; exit code 0 where nothing fails."""
    out, counts = console(), Counter[Level]()
    for check in _checks(store or default_store(), address):
        counts[check.level] += 1
        _print(out, check)
    out.print(", ".join(f"{counts[level]} {level}" for level in Level), highlight=False)
    if counts[Level.failure]:
        raise typer.Exit(1)


def _checks(uri: str, address: str | None) -> Iterator[Check]:
    yield from check_machine()
    try:
        objects = open_objects(uri, Retries(give_up_after_s=STORE_WAIT_S))
    except StoreError as error:
        yield Check("store", Level.failure, str(error))
    else:
        yield Check("store", Level.ok, objects.uri)
        yield from check_store(objects)
    if address is not None:
        yield check_jobs_server(address, ray_token(), package_version("ray"))


def _print(out: Console, check: Check) -> None:
    line = Text(f"{check.level:<8}", style=_COLOURS[check.level])
    line.append(f"{check.name}: {check.text}", style="default")
    if check.fix:
        line.append(f". Fix: {check.fix}", style="default")
    out.print(line, soft_wrap=True)
