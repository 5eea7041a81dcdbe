"""plan, run, resume and status."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from cluster.cli.common import (
    BudgetOption,
    SpecArgument,
    StoreOption,
    SweepArgument,
    app,
    console,
    error_line,
    store_at,
)
from cluster.costs import PlanCost, plan_cost
from cluster.driver import RunReport, run_sweep
from cluster.resources import Resources, choose_resources
from cluster.settings import this_machine
from cluster.views import duration, open_view, panel, plain_line
from grok_sweeps.errors import QueryError, SpecError
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.estimate import ASSUMPTIONS, checkpoint_bytes
from grok_sweeps.plan.forecast import Forecast
from grok_sweeps.plan.rates import parse_pool
from grok_sweeps.progress import Progress, measure_progress
from grok_sweeps.results import Store
from grok_sweeps.spec import SweepSpec, load_spec, preset_names, with_execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.ancestry import stored_ancestry
from grok_sweeps.store.retention import bytes_by_kind
from grok_sweeps.store.rows import PROGRESS_COLUMNS, RowLog

WATCH_EVERY_S = 2.0
SIZES_EVERY_S = 30.0
STOPPED_FOR_A_REASON = 3
"""Exit code of a sweep that stopped in good order by itself, to be gone on with."""

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="execution.KEY=VALUE", help="Another value for a key of `execution`; may be repeated."
    ),
]


@app.command()
def plan(
    spec: SpecArgument,
    store: StoreOption = None,
    settings: SetOption = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", metavar="NxKIND", help="Devices to plan for, as 8xH100 or 16xcpu; without it, this machine."
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", metavar="$", min=0, help="$ for an hour of one device.")
    ] = None,
    step_rate: Annotated[
        float | None,
        typer.Option(
            "--step-rate", metavar="N", min=1e-6, help="Run-steps a second of one device, where you know better."
        ),
    ] = None,
) -> None:
    """Print what a spec would train and cost. Writes nothing; the store is where forks look for their parents."""
    sweep, _ = load_spec(spec)
    sweep = with_execution(sweep, settings or ())
    pool = None if cluster is None else parse_pool(cluster)
    opened = store_at(store)
    planned = make_plan(sweep, stored_ancestry(opened.objects))
    costs = plan_cost(planned, sweep.execution, opened, pool, step_rate)
    console().print(_plan_table(planned, costs, price))
    console().print(f"The estimate assumes that {ASSUMPTIONS}.", highlight=False, style="dim")


@app.command()
def presets() -> None:
    """List the shipped presets."""
    table = Table("preset", "runs", "what it is")
    for name in preset_names():
        spec, _ = load_spec(name)
        table.add_row(name, f"{len(make_plan(spec).runs):,}", spec.description)
    console().print(table)


@app.command()
def run(
    spec: SpecArgument, store: StoreOption = None, settings: SetOption = None, max_gpu_hours: BudgetOption = None
) -> None:
    """Train the runs of a spec that have no row yet; again and again until all have."""
    sweep, text = load_spec(spec)
    sweep = with_execution(sweep, settings or ())
    opened = store_at(store)
    planned = make_plan(sweep, stored_ancestry(opened.objects))
    _run(sweep, text, opened, planned, max_gpu_hours=max_gpu_hours)


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
    max_gpu_hours: BudgetOption = None,
) -> None:
    """Go on with a sweep from the store alone: `run` with the spec and the plan that the store keeps."""
    if censored and max_steps is None:
        raise SpecError("--censored: name the budget to train censored runs on to, with --max-steps N.")
    opened = store_at(store)
    sweep_store = opened.sweep(sweep)
    spec = sweep_store.load_spec()
    text = sweep_store.load_spec_text()
    assert spec is not None
    assert text is not None
    planned = sweep_store.load_plan() or make_plan(spec, stored_ancestry(opened.objects))
    changed = [*([f"execution.pack_runs={packs}"] if packs else []), *(settings or ())]
    _run(
        with_execution(spec, changed),
        text,
        opened,
        planned,
        max_steps,
        failed_again=failed,
        max_gpu_hours=max_gpu_hours,
    )


@app.command()
def status(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="A sweep; without one, all.")] = None,
    store: StoreOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking until the sweep ends.")] = False,
) -> None:
    """Show how far a sweep is, from the store alone."""
    opened = store_at(store)
    if sweep is None:
        for name in opened.sweep_names():
            console().print(plain_line(_Reader(opened.sweep(name)).read()), highlight=False)
        return
    reader, out = _Reader(opened.sweep(sweep)), console()
    if not watch:
        out.print(panel(reader.read(), reader.stored()))
        return
    with Live(console=out, refresh_per_second=4) as live:
        while True:
            progress = reader.read()
            live.update(panel(progress, reader.stored()))
            if progress.state != "running":
                return
            time.sleep(WATCH_EVERY_S)


def _run(
    spec: SweepSpec,
    text: str,
    store: Store,
    planned: Plan,
    extend_to: int | None = None,
    *,
    failed_again: bool = False,
    max_gpu_hours: float | None = None,
) -> None:
    sweep_store = SweepStore(store.objects, spec.name)
    out = console()
    began = time.monotonic()
    with open_view(out) as view:
        report = run_sweep(
            sweep_store,
            text,
            planned,
            spec.execution,
            _resources(spec),
            view,
            extend_to,
            failed_again=failed_again,
            max_device_hours=max_gpu_hours,
        )
    _conclude(spec.name, report, time.monotonic() - began)


def _conclude(name: str, report: RunReport, seconds: float) -> None:
    out = console()
    progress = report.progress
    failed = progress.outcomes.get("failed", 0)
    if report.state == "finished":
        ending = f" in {duration(seconds)}" if report.trials else "; nothing to do"
        out.print(f"{plain_line(progress)}{ending}", highlight=False)
    if failed:
        error_line(
            f"sweep '{name}': {failed} of {progress.runs} runs failed, the first: {progress.first_error}. "
            f"`grok-sweeps resume {name} --failed` trains them again."
        )
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


def _resources(spec: SweepSpec) -> Resources:
    machine = this_machine(look_for_gpus=spec.execution.device != "cpu")
    return choose_resources(spec.execution, machine)


def _plan_table(planned: Plan, costs: PlanCost, price: float | None) -> Table:
    resources = costs.resources
    packs = [pack for stage in costs.stages for pack in stage]
    widths = sorted({pack.lanes for pack in packs})
    lanes = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    parents = frozenset(planned.parents.values())
    added = {
        "control runs": sum(r.added and r.run_id not in parents for r in planned.runs),
        "parents of forks": sum(r.added and r.run_id in parents for r in planned.runs),
    }
    extra = " and ".join(f"{n:,} {what}" for what, n in added.items() if n)
    table = Table(title=f"plan of {planned.sweep}", title_justify="left", show_header=False)
    table.add_row("runs", f"{len(planned.runs):,}" + (f" ({extra} added)" if extra else ""))
    table.add_row("cells", f"{planned.n_cells:,}")
    table.add_row(
        "stages",
        f"{planned.n_stages} ({', '.join(f'{len(planned.stage(k)):,} runs' for k in range(planned.n_stages))})",
    )
    table.add_row("packs", f"{len(packs):,} on {resources.workers} {resources.device} workers x {lanes} lanes")
    for label, text in costs.rows(price):
        table.add_row(label, text)
    n_bytes = checkpoint_bytes(planned, costs.foreseen.steps, workers=resources.workers, lanes=resources.lanes_of)
    table.add_row("checkpoints", f"about {n_bytes / 1e6:,.1f} MB at any time")
    return table


class _Reader:
    """Reads a sweep's progress again and again, each row file once."""

    def __init__(self, store: SweepStore) -> None:
        self._store, self._log = store, RowLog(store, PROGRESS_COLUMNS)
        loaded = store.load_plan()
        if loaded is None:
            raise QueryError(f"sweep '{store.sweep}' has no plan yet; run it first.")
        self._plan, self._forecast = loaded, Forecast(loaded)
        self._sized_at, self._sizes = float("-inf"), dict[str, int]()

    def stored(self) -> dict[str, int]:
        """Bytes by kind of object, looked up now and then: it lists the whole sweep."""
        if time.monotonic() - self._sized_at >= SIZES_EVERY_S:
            self._sized_at, self._sizes = time.monotonic(), bytes_by_kind(self._store)
        return self._sizes

    def read(self) -> Progress:
        self._log.refresh()
        status = self._store.load_status()
        return measure_progress(self._store.sweep, self._plan, self._log.rows, status, forecast=self._forecast)
