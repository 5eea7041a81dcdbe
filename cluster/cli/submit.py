"""submit and cancel: hand a sweep over to a Ray cluster, and call it back."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from grok_sweeps.cluster.cli.common import (
    AddressOption,
    BudgetOption,
    EnvOption,
    NoLeaseOption,
    SetOption,
    SpecArgument,
    StoreOption,
    SweepArgument,
    TokenFileOption,
    WaitForNodesOption,
    app,
    say,
    store_at,
)
from grok_sweeps.cluster.cli.status import CANCELLED, Reader
from grok_sweeps.cluster.costs import cost_lines
from grok_sweeps.cluster.jobs import JobsServer
from grok_sweeps.cluster.jobs.shipping import shipped
from grok_sweeps.cluster.jobs.submit import live_job
from grok_sweeps.cluster.jobs.submit import submit as submit_job
from grok_sweeps.cluster.nodes import pool_of
from grok_sweeps.cluster.resources import choose_cluster_resources
from grok_sweeps.cluster.settings import jobs_address, ray_token
from grok_sweeps.cluster.stopping import STATES_WAIT_S
from grok_sweeps.cluster.views import failed_runs
from grok_sweeps.errors import ClusterError, ClusterGoneError, SpecError, StoreError
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.provenance import git_sha
from grok_sweeps.results import Store
from grok_sweeps.spec import Execution, SweepSpec, load_spec, with_execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.ancestry import stored_ancestry
from grok_sweeps.store.take_lease import Candidate

CANCEL_WAIT_S = STATES_WAIT_S + 10
_LOOK_EVERY_S = 1.0


@app.command()
def submit(
    spec: SpecArgument,
    address: AddressOption = None,
    store: StoreOption = None,
    token_file: TokenFileOption = None,
    settings: SetOption = None,
    wait_for_nodes: WaitForNodesOption = 0.0,
    variables: EnvOption = None,
    max_gpu_hours: BudgetOption = None,
    price: Annotated[
        float | None, typer.Option("--price", metavar="$", min=0, help="$ for an hour of one device.")
    ] = None,
    no_lease: NoLeaseOption = False,
) -> None:
    """Hand a sweep over to a Ray cluster and return; a second time joins the first."""
    where = address or jobs_address()
    if where is None:
        raise SpecError("--address: name the cluster's jobs server, http://HOST:8265, or set RAY_API_SERVER_ADDRESS.")
    if not is_jobs_server(where):
        raise SpecError(
            f"--address: '{where}' is no jobs server; give http://HOST:8265, or drive the sweep from here with "
            "`grok-sweeps run --address`."
        )
    sweep, text = load_spec(spec)
    sweep = with_execution(sweep, settings or ())
    submit_spec(
        store_at(store),
        JobsServer(where, ray_token(token_file)),
        sweep,
        text,
        settings=settings or (),
        variables=variables or (),
        wait_for_nodes_s=wait_for_nodes,
        max_gpu_hours=max_gpu_hours,
        price=price,
        no_lease=no_lease,
    )


def submit_spec(
    opened: Store,
    server: JobsServer,
    spec: SweepSpec,
    text: str,
    *,
    settings: Sequence[str] = (),
    variables: Sequence[str] = (),
    wait_for_nodes_s: float = 0.0,
    max_gpu_hours: float | None = None,
    price: float | None = None,
    no_lease: bool = False,
) -> None:
    """Write a sweep to the store and hand it over to a cluster, or join the job that has it."""
    planned = make_plan(spec, stored_ancestry(opened.objects))
    _look_at_nodes(server, planned, spec.execution, opened, price, wait_for_nodes_s)
    sweep_store = SweepStore(opened.objects, spec.name)
    sweep_store.create(text, planned)
    hand_over(
        sweep_store,
        server,
        settings=settings,
        variables=variables,
        wait_for_nodes_s=wait_for_nodes_s,
        max_gpu_hours=max_gpu_hours,
        no_lease=no_lease,
        unless_finished=True,
    )


def is_jobs_server(address: str | None) -> bool:
    """Whether an address is that of a jobs server, and not of a cluster to join."""
    return address is not None and address.startswith(("http://", "https://"))


def hand_over(
    store: SweepStore,
    server: JobsServer,
    *,
    settings: Sequence[str] = (),
    options: Sequence[str] = (),
    variables: Sequence[str] = (),
    wait_for_nodes_s: float = 0.0,
    max_gpu_hours: float | None = None,
    wait_for_driver_s: float = 0.0,
    no_lease: bool = False,
    unless_finished: bool = False,
) -> None:
    """Have the cluster's driver go on with a sweep that is in the store, and say how to watch it.

    A driver has something to do for a finished sweep too: it deletes, compacts and tells trackers what they miss. With
    `unless_finished` it is left alone.
    """
    reader = Reader(store)
    commit = git_sha()
    arguments = [
        *options,
        *(part for setting in settings for part in ("--set", setting)),
        *([f"--wait-for-nodes={wait_for_nodes_s:g}"] if wait_for_nodes_s else []),
        *([f"--max-gpu-hours={max_gpu_hours:g}"] if max_gpu_hours is not None else []),
        *([f"--wait-for-driver={wait_for_driver_s:g}"] if wait_for_driver_s else []),
        *(["--no-lease"] if no_lease else []),
        *([f"--git-sha={commit}"] if commit else []),
    ]

    def is_finished() -> bool:
        return unless_finished and reader.read().state == "finished"

    done = submit_job(
        server, store, arguments, shipped(variables, is_job=True), is_finished, say, waits=wait_for_driver_s > 0
    )
    if done is None:
        say(f"{store.sweep} is finished: nothing was submitted")
        if failed := failed_runs(reader.read()):
            raise ClusterError(failed)
        return
    at = f"--store '{store.objects.uri}'"
    if done.joined:
        say(f"{store.sweep} is under way already: {done.said}; nothing was submitted")
        _compare(store.sweep, arguments, done.options)
    else:
        say(f"{store.sweep} is job {done.submission_id}: {done.said}")
    say(f"watch it:   grok-sweeps status {store.sweep} --watch {at}")
    say(f"read it:    grok-sweeps logs {store.sweep} --follow {at}")
    say(f"stop it:    grok-sweeps cancel {store.sweep} {at}")


def _compare(sweep: str, asked: Sequence[str], running: Sequence[str] | None) -> None:
    """Say what was asked for and the driver at work was not: it keeps what it was started with.

    Raises:
        ClusterError: that is more than how runs are trained: a budget, or runs that are to be trained again.
    """
    settings, others = _by_kind(asked)
    settings_there, others_there = _by_kind(running or ())
    more = [option for option in others if option not in others_there]
    if more:
        raise ClusterError(
            f"sweep '{sweep}' goes on without {' '.join(more)}: its driver keeps what it was started with; cancel it "
            "first and resume it with this."
        )
    if running is None:
        if settings:
            say("the driver at work keeps the settings that it was started with, which are not known here")
    elif settings != settings_there:
        kept = " ".join(f"{key}={value}" for key, value in settings_there.items()) or "those of its spec"
        say(
            f"the driver at work keeps its settings: {kept}; for yours, cancel the sweep and submit it again "
            "(it goes on from its states)"
        )


def _by_kind(options: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The last value of each `--set`, and the other options that change what a driver does."""
    settings: dict[str, str] = {}
    others = []
    words = iter(options)
    for word in words:
        if word == "--set":
            key, _, value = next(words, "").partition("=")
            settings[key.strip()] = value.strip()
        elif not word.startswith(("--git-sha", "--wait-for-nodes", "--wait-for-driver", "--no-lease")):
            others.append(word)
    return settings, others


def _look_at_nodes(
    server: JobsServer, planned: Plan, execution: Execution, store: Store, price: float | None, wait_for_nodes_s: float
) -> None:
    """Print what the sweep would cost on the nodes that are there.

    Raises:
        ClusterError: none has room for a pack, and none is waited for.
    """
    nodes = server.nodes()
    try:
        resources = choose_cluster_resources(execution, nodes)
    except ClusterError:
        if not wait_for_nodes_s:
            raise
        return
    try:
        lines = cost_lines(planned, pool_of(nodes, resources.bundle), execution, store, price=price)
    except StoreError as error:
        lines = [f"cost: not known: {error}"]
    for line in lines:
        say(line)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "somebody"


@app.command()
def cancel(
    sweep: SweepArgument,
    store: StoreOption = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.0, help="How long to wait here for it to have stopped.")
    ] = CANCEL_WAIT_S,
    address: AddressOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Stop a sweep, wherever it is driven: its states are written first, and a resume goes on from them."""
    one = store_at(store).sweep(sweep)
    reader, watching = Reader(one), Candidate(one, {})
    reason = f"{CANCELLED}{_user()} on {socket.gethostname()}"
    leased = not watching.is_free()
    stopped = _stop_holder(one, watching, reason, wait) if leased else _stop_unleased(one, reader, reason, wait)
    over = _end_job(one, address, ray_token(token_file), wait, stops_itself=stopped)
    progress = reader.read()
    at_work = watching.standing.who if not watching.is_free() and watching.standing else None
    if at_work is None and _is_unleased(one) and progress.state == "running":
        at_work = "a driver without a lease"
    state = "interrupted" if progress.state == "running" and at_work is None else progress.state
    say(
        f"{sweep}: {state}, {progress.finished:,}/{progress.runs:,} runs finished; {over}"
        + ("" if state == "finished" else f"; `grok-sweeps resume {sweep}` goes on")
    )
    if at_work is not None:
        raise ClusterError(
            f"sweep '{sweep}' is still driven after {wait:g} s, by {at_work}; cancel it again with a longer --wait."
        )


def _stop_holder(store: SweepStore, watching: Candidate, reason: str, wait_s: float) -> bool:
    """Ask the holder of the sweep's lease to stop and wait for its end; return whether it has ended in that time."""
    driver = watching.standing.driver.get("id") if watching.standing else None
    if driver:
        store.ask_to_stop(driver, reason)
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        if watching.is_free():
            return True
        time.sleep(_LOOK_EVERY_S)
    return False


def _is_unleased(store: SweepStore) -> bool:
    """Whether the last heartbeat is of a driver at work without a lease, however old by this clock."""
    last = store.load_status() or {}
    return last.get("state") == "running" and bool(last.get("driver")) and last.get("fence") is None


def _stop_unleased(store: SweepStore, reader: Reader, reason: str, wait_s: float) -> bool:
    """The same of a driver without a lease, which is known by its heartbeat alone."""
    if not _is_unleased(store):
        return False
    store.ask_to_stop((store.load_status() or {})["driver"]["id"], reason)
    until = time.monotonic() + wait_s
    while reader.read().state == "running" and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
    return reader.read().state != "running"


def _end_job(store: SweepStore, address: str | None, token: str | None, wait_s: float, *, stops_itself: bool) -> str:
    """Have the sweep's job end, if it has one and its cluster is there; return what became of it."""
    job = store.load_job()
    if job is None:
        return "it has no job on a cluster"
    try:
        server = JobsServer(address or job["address"], token)
        live = live_job(server, store.objects.uri, store.sweep)
        if live is None:
            return "its job has ended"
        if not stops_itself:
            server.stop(live.submission_id)
        until = time.monotonic() + wait_s
        while (now := server.job(live.submission_id)) is not None and not now.is_over:
            if time.monotonic() >= until:
                server.stop(live.submission_id)
                return f"its job {live.submission_id} was told to end"
            time.sleep(_LOOK_EVERY_S)
    except ClusterGoneError as error:
        return f"its cluster is gone ({str(error).rstrip('.')})"
    except ClusterError as error:
        if not stops_itself:
            raise
        return f"its job ends by itself ({str(error).rstrip('.')})"
    return "its job has ended"
