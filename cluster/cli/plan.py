"""plan and presets: what would be trained, and what it would cost."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from grok_sweeps.cluster.cli.common import SetOption, SpecArgument, StoreOption, app, console, store_at
from grok_sweeps.cluster.costs import PlanCost, plan_cost
from grok_sweeps.cluster.reproduce.missing import tables_of
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.estimate import ASSUMPTIONS, checkpoint_bytes
from grok_sweeps.plan.kept import kept_bytes
from grok_sweeps.plan.rates import parse_pool
from grok_sweeps.spec import load_spec, preset_names, with_execution
from grok_sweeps.store.ancestry import stored_ancestry


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
    console().print(_plan_table(planned, costs, price, sweep.execution.keep_states))
    console().print(f"The estimate assumes that {ASSUMPTIONS}.", highlight=False, style="dim")


@app.command()
def presets() -> None:
    """List the shipped presets."""
    table = Table("preset", "runs", "what it is", "the paper's tables that it serves")
    for name in preset_names():
        spec, _ = load_spec(name)
        table.add_row(name, f"{len(make_plan(spec).runs):,}", spec.description, ", ".join(tables_of(name)))
    console().print(table)


def _plan_table(planned: Plan, costs: PlanCost, price: float | None, keep_states: str) -> Table:
    resources = costs.resources
    packs = [pack for stage in costs.stages for pack in stage]
    widths = sorted({pack.lanes for pack in packs})
    lanes = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    added = {
        "control runs": sum(r.added and r.run_id not in planned.fork_parents for r in planned.runs),
        "parents of forks": sum(r.added and r.run_id in planned.fork_parents for r in planned.runs),
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
    expected, most = kept_bytes(planned, costs.foreseen.steps, keep_states)
    kept = f"about {expected / 1e6:,.1f} MB are kept, {most / 1e6:,.1f} MB if no run groks"
    table.add_row("final states", f"{kept} (execution.keep_states={keep_states})")
    return table
