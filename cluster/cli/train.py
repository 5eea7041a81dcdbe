"""run and resume: the driver in this process, on a Ray of its own or on a cluster that it joins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from grok_sweeps.cluster.cli.common import (
    BudgetOption,
    EnvOption,
    NoLeaseOption,
    SetOption,
    SpecArgument,
    StoreOption,
    SweepArgument,
    TokenFileOption,
    WaitForDriverOption,
    WaitForNodesOption,
    app,
    console,
    error_line,
    store_at,
    warning_line,
)
from grok_sweeps.cluster.cli.output import go_on_without_output
from grok_sweeps.cluster.cli.submit import hand_over, is_jobs_server
from grok_sweeps.cluster.driver import DriveOptions, RunReport, run_sweep
from grok_sweeps.cluster.jobs import JobsServer
from grok_sweeps.cluster.jobs.shipping import shipped
from grok_sweeps.cluster.joined_ray import JoinedRay
from grok_sweeps.cluster.journal import driver_identity
from grok_sweeps.cluster.local_ray import LocalRay
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.resources import choose_resources
from grok_sweeps.cluster.settings import ALLOCATOR, is_ray_job, ray_token, this_machine, use_token
from grok_sweeps.cluster.stopping import STOPPED_FOR_A_REASON
from grok_sweeps.cluster.views import duration, failed_runs, open_view, plain_line
from grok_sweeps.errors import SpecError
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.provenance import git_sha
from grok_sweeps.results import Store
from grok_sweeps.spec import SweepSpec, load_spec, with_execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.agreement import warn_of_name, warn_of_runs
from grok_sweeps.store.ancestry import stored_ancestry
from grok_sweeps.store.take_lease import driver_lease

DriveAddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="ADDRESS", help="Train on the Ray cluster of this machine, `auto`, or of HOST:PORT."
    ),
]

ResumeAddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="A jobs server, http://HOST:8265, to hand the sweep over to; or as for `run`. Without it, this machine.",
    ),
]


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks of a driver beside the sweep."""

    address: str | None = None
    token_file: Path | None = None
    wait_for_nodes_s: float = 0.0
    max_gpu_hours: float | None = None
    extend_to: int | None = None
    failed_again: bool = False
    submission_id: str | None = None
    git_sha: str | None = None
    wait_for_driver_s: float = 0.0
    no_lease: bool = False


@app.command()
def run(
    spec: SpecArgument,
    store: StoreOption = None,
    settings: SetOption = None,
    address: DriveAddressOption = None,
    token_file: TokenFileOption = None,
    wait_for_nodes: WaitForNodesOption = 0.0,
    max_gpu_hours: BudgetOption = None,
    wait_for_driver: WaitForDriverOption = 0.0,
    no_lease: NoLeaseOption = False,
) -> None:
    """Train the runs of a spec that have no row yet; again and again until all have."""
    if is_jobs_server(address):
        raise SpecError(f"--address: {address} is a jobs server; `grok-sweeps submit` hands a sweep over to one.")
    sweep, text = load_spec(spec)
    sweep = with_execution(sweep, settings or ())
    request = Request(
        address, token_file, wait_for_nodes, max_gpu_hours, wait_for_driver_s=wait_for_driver, no_lease=no_lease
    )
    train(store_at(store), sweep, text, request)


def train(opened: Store, spec: SweepSpec, text: str, request: Request) -> None:
    """Train the runs of a spec that have no row yet, and say how it ended.

    Raises:
        typer.Exit: not all of them were finished.
    """
    planned = make_plan(spec, stored_ancestry(opened.objects))
    _drive(SweepStore(opened.objects, spec.name), spec, text, planned, request)


@app.command()
def resume(
    sweep: SweepArgument,
    store: StoreOption = None,
    max_steps: Annotated[
        int | None,
        typer.Option("--max-steps", metavar="N", min=1, help="Train censored runs on, up to step N, from their last."),
    ] = None,
    censored: Annotated[bool, typer.Option("--censored", help="Says that censored runs are meant; with N.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Train failed runs again, from their newest state.")] = False,
    packs: Annotated[
        int | None, typer.Option("--packs", metavar="N", min=1, help="Most runs of a pack: execution.pack_runs.")
    ] = None,
    settings: SetOption = None,
    address: ResumeAddressOption = None,
    token_file: TokenFileOption = None,
    wait_for_nodes: WaitForNodesOption = 0.0,
    variables: EnvOption = None,
    max_gpu_hours: BudgetOption = None,
    wait_for_driver: WaitForDriverOption = 0.0,
    no_lease: NoLeaseOption = False,
    submission_id: Annotated[str | None, typer.Option("--submission-id", hidden=True)] = None,
    commit: Annotated[str | None, typer.Option("--git-sha", hidden=True)] = None,
) -> None:
    """Go on with a sweep from the store alone: here, on a cluster that is joined, or as a job of one."""
    if censored and max_steps is None:
        raise SpecError("--censored: name the budget to train censored runs on to, with --max-steps N.")
    opened = store_at(store)
    sweep_store = opened.sweep(sweep)
    spec = sweep_store.load_spec()
    text = sweep_store.load_spec_text()
    assert spec is not None
    assert text is not None
    planned = sweep_store.load_plan() or make_plan(spec, stored_ancestry(opened.objects))
    warn_of_name(sweep_store)
    warn_of_runs(sweep_store, planned)
    changed = [*([f"execution.pack_runs={packs}"] if packs else []), *(settings or ())]
    spec = with_execution(spec, changed)
    request = Request(
        address,
        token_file,
        wait_for_nodes,
        max_gpu_hours,
        max_steps,
        failed,
        submission_id,
        commit,
        wait_for_driver,
        no_lease,
    )
    if address is None or not is_jobs_server(address):
        _drive(sweep_store, spec, text, planned, request)
        return
    options = [*(["--failed"] if failed else []), *([f"--max-steps={max_steps}"] if max_steps else [])]
    hand_over(
        sweep_store,
        JobsServer(address, ray_token(token_file)),
        settings=changed,
        options=options,
        variables=variables or (),
        wait_for_nodes_s=wait_for_nodes,
        max_gpu_hours=max_gpu_hours,
        wait_for_driver_s=wait_for_driver,
        no_lease=no_lease,
    )


def _drive(store: SweepStore, spec: SweepSpec, text: str, planned: Plan, request: Request) -> None:
    go_on_without_output(
        lambda why: warning_line(f"{why} Training goes on; `grok-sweeps status {store.sweep}` shows it.")
    )
    out = console()
    began = time.monotonic()
    who = driver_identity(request.submission_id)
    with open_view(out) as view:
        report = run_sweep(
            store,
            text,
            planned,
            spec.execution,
            _session(spec, request),
            view,
            DriveOptions(
                extend_to=request.extend_to,
                failed_again=request.failed_again,
                max_device_hours=request.max_gpu_hours,
                commit=request.git_sha or git_sha(),
                driver=who,
            ),
            lease=partial(
                driver_lease,
                store,
                who,
                no_lease=request.no_lease,
                wait_s=request.wait_for_driver_s,
                tell=view.event,
            ),
        )
    _conclude(store.sweep, report, time.monotonic() - began)


def _session(spec: SweepSpec, request: Request) -> RaySession:
    """The Ray that the packs train on."""
    if request.address is None:
        machine = this_machine(look_for_gpus=spec.execution.device != "cpu")
        return LocalRay(choose_resources(spec.execution, machine))
    use_token(ray_token(request.token_file))
    if request.submission_id is not None:  # the job has shipped all of it
        runtime_env: dict[str, Any] = {}
    else:
        runtime_env = {"env_vars": ALLOCATOR} if is_ray_job() else shipped()
    return JoinedRay(request.address, runtime_env, request.wait_for_nodes_s)


def _conclude(name: str, report: RunReport, seconds: float) -> None:
    out = console()
    progress = report.progress
    failed = failed_runs(progress)
    if report.state == "finished":
        ending = f" in {duration(seconds)}" if report.trials else "; nothing to do"
        out.print(f"{plain_line(progress)}{ending}", highlight=False)
    if failed:
        error_line(failed)
    if report.state == "finished":
        if failed:
            raise typer.Exit(1)
        return
    left = progress.runs - progress.finished
    if report.state == "interrupted" and report.reason:
        error_line(f"sweep '{name}' was stopped with {left} runs left: {report.reason}.")
        raise typer.Exit(STOPPED_FOR_A_REASON)
    if report.state == "interrupted":
        error_line(f"sweep '{name}' was stopped with {left} runs left; run the same command again to go on.")
        raise typer.Exit(130)
    why = report.errors[0] if report.errors else "their packs ended without a result."
    if len(report.errors) > 1:
        why += f" (The first of {len(report.errors)} reasons.)"
    error_line(
        f"sweep '{name}': {left} of {progress.runs} runs have no result: {why} Run the same command again to go on."
    )
    raise typer.Exit(1)
