"""status, list and logs: how sweeps stand, from the store, whether or not their cluster is still there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from grok_sweeps.cluster.cli.common import (
    AddressOption,
    StoreOption,
    SweepArgument,
    TokenFileOption,
    app,
    console,
    say,
    store_at,
)
from grok_sweeps.cluster.jobs import JobsServer
from grok_sweeps.cluster.settings import ray_token
from grok_sweeps.cluster.views import duration, panel, plain_line
from grok_sweeps.errors import ClusterError, ClusterGoneError, CorruptObjectError, GrokSweepsError, QueryError
from grok_sweeps.plan.finished_runs import FinishedRuns
from grok_sweeps.progress import Progress, measure_progress
from grok_sweeps.store import SweepStore
from grok_sweeps.store.agreement import warn_of_name, warn_of_runs
from grok_sweeps.store.lease import read_lease
from grok_sweeps.store.retention import bytes_by_kind
from grok_sweeps.store.rows import PROGRESS_COLUMNS, NewRows, RowLog

CANCELLED = "cancelled by "
"""What the reason begins with of a sweep that was cancelled."""
WATCH_EVERY_S = 2.0
SIZES_EVERY_S = 30.0


@app.command()
def status(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="A sweep; without one, all.")] = None,
    store: StoreOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking until the sweep ends.")] = False,
) -> None:
    """Show how far a sweep is, from the store alone."""
    opened = store_at(store)
    if sweep is None:
        names = opened.sweep_names()
        for name in names:
            one = opened.sweep(name)
            try:
                warn_of_name(one)
                say(plain_line(Reader(one).read()))
            except GrokSweepsError as error:  # the others are shown
                say(f"{name}: not known: {error}")
        if not names:
            say(f"no sweeps in {opened.uri}")
        return
    one = opened.sweep(sweep)
    reader, out = Reader(one), console()
    warn_of_name(one)
    warn_of_runs(one, reader.plan)
    if not watch:
        out.print(panel(reader.read(), reader.stored(), reader.holder()))
        return
    with Live(console=out, refresh_per_second=4) as live:
        while True:
            progress = reader.read()
            live.update(panel(progress, reader.stored(), reader.holder()))
            if progress.state != "running":
                return
            time.sleep(WATCH_EVERY_S)


@app.command(name="list")
def list_sweeps(store: StoreOption = None, address: AddressOption = None, token_file: TokenFileOption = None) -> None:
    """List the sweeps of a store, and what their clusters say of the jobs that drive them."""
    opened = store_at(store)
    servers = _Servers(address, ray_token(token_file))
    table = Table("sweep", "state", "runs", "outcomes", "driver", "heartbeat", "job")
    names = opened.sweep_names()
    for name in names:
        one = opened.sweep(name)
        try:
            warn_of_name(one)
            progress = Reader(one).read()
        except GrokSweepsError as error:  # the others are shown
            table.add_row(name, f"not known: {error}", *["—"] * 5)
            continue
        driver = (one.load_status() or {}).get("driver") or {}
        table.add_row(
            name,
            progress.state,
            f"{progress.finished:,}/{progress.runs:,}",
            ", ".join(f"{n:,} {outcome}" for outcome, n in progress.outcomes.items()),
            driver.get("host", "—"),
            f"{duration(progress.heartbeat_age_s)} ago" if progress.heartbeat_age_s is not None else "—",
            servers.describe(one.load_job(), one.load_status()),
        )
    console().print(table)
    if not names:
        say(f"no sweeps in {opened.uri}")


@app.command()
def logs(
    sweep: SweepArgument,
    store: StoreOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the sweep ends.")] = False,
    job: Annotated[bool, typer.Option("--job", help="All that the Ray job wrote, while its cluster is there.")] = False,
    address: AddressOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Print what the last driver of a sweep said, as the store keeps it."""
    one = store_at(store).sweep(sweep)
    if job:
        say(_job_log(one, address, ray_token(token_file)), end="")
        return
    text = one.load_log()
    if text is None:
        raise QueryError(f"sweep '{sweep}' has no log yet; no driver has begun.")
    reader = Reader(one) if follow else None
    shown = ""
    while True:
        # A log that is cut at its beginning, or another driver's, has little in common with what was shown.
        new = text.removeprefix(shown) if text.startswith(shown) else text
        say(new, end="")
        shown = text
        if reader is None or reader.read().state != "running":
            if reader is not None and (last := one.load_log()) not in (None, shown):
                say(str(last).removeprefix(shown), end="")
            return
        time.sleep(WATCH_EVERY_S)
        text = one.load_log() or text


def _job_log(store: SweepStore, address: str | None, token: str | None) -> str:
    job = store.load_job()
    if job is None:
        raise QueryError(f"sweep '{store.sweep}' was not submitted to a cluster; leave --job out.")
    try:
        return JobsServer(address or job["address"], token).logs(job["submission_id"])
    except ClusterError as error:
        raise ClusterError(f"{error} `grok-sweeps logs {store.sweep}` prints what the store keeps.") from error


class _Servers:
    """Asks jobs servers, each once, what has become of jobs."""

    def __init__(self, address: str | None, token: str | None) -> None:
        self._address, self._token = address, token
        self._found: dict[str, Mapping[str, str] | str] = {}

    def describe(self, job: Mapping[str, Any] | None, status: Mapping[str, Any] | None) -> str:
        """A job and its state, or that its cluster is gone; `status` is what the last driver has left."""
        if job is None:
            return "—"
        address = self._address or job["address"]
        if address not in self._found:
            try:
                self._found[address] = {j.submission_id: j.state for j in JobsServer(address, self._token).jobs()}
            except ClusterGoneError:
                self._found[address] = "does not answer"
            except ClusterError as error:
                self._found[address] = str(error)
        states = self._found[address]
        if isinstance(states, str):
            return f"{job['submission_id']}: {address} {states}"
        return f"{job['submission_id']}: {_job_state(states, job['submission_id'], status or {})} on {address}"


def _job_state(states: Mapping[str, str], submission_id: str, status: Mapping[str, Any]) -> str:
    """What became of a job: one that was told to stop is FAILED to Ray, and its driver has said why in the store."""
    state = states.get(submission_id, "not known")
    own = (status.get("driver") or {}).get("submission_id") == submission_id
    if state not in ("FAILED", "STOPPED") or not own or status.get("state") != "interrupted":
        return state
    return "cancelled" if str(status.get("reason") or "").startswith(CANCELLED) else "interrupted"


class Reader:
    """Reads a sweep's progress again and again, each row file once."""

    def __init__(self, store: SweepStore) -> None:
        self._store, self._log = store, RowLog(store, PROGRESS_COLUMNS)
        loaded = store.load_plan()
        if loaded is None:
            raise QueryError(f"sweep '{store.sweep}' has no plan yet; run it first.")
        self.plan, self._finished, self._new_rows = loaded, FinishedRuns(loaded), NewRows(self._log)
        self._sized_at, self._sizes = float("-inf"), dict[str, int]()

    def stored(self) -> dict[str, int]:
        """Bytes by kind of object, looked up now and then: it lists the whole sweep."""
        if time.monotonic() - self._sized_at >= SIZES_EVERY_S:
            self._sized_at, self._sizes = time.monotonic(), bytes_by_kind(self._store)
        return self._sizes

    def holder(self) -> str | None:
        """Who holds the sweep's lease, in words; None where nobody does."""
        try:
            lease = read_lease(self._store)
        except CorruptObjectError as error:
            return str(error)
        return None if lease is None or lease.released else f"{lease.who}, fence {lease.fence}"

    def read(self) -> Progress:
        """The sweep as it is now."""
        status = self._store.load_status()  # before the rows: of a driver that ends meanwhile all are there
        self._log.refresh()
        self._finished.add(self._new_rows.take())
        return measure_progress(self._store.sweep, self._finished, status)
