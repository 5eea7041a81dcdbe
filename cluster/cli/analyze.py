"""analyze: estimates, figures and a report of one sweep, or of several together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from grok_sweeps.cluster.cli.common import StoreOption, app, console, print_tables, store_at, warning_line
from grok_sweeps.store import open_objects
from grok_sweeps.store.agreement import warn_of_name, warn_of_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grok_sweeps.analysis.render.drawings import Figures
    from grok_sweeps.analysis.result import Analysis
    from grok_sweeps.results import Store
    from grok_sweeps.store import ObjectStore


@app.command()
def analyze(
    sweeps: Annotated[list[str], typer.Argument(metavar="SWEEP", help="Names of sweeps in the store.")],
    store: StoreOption = None,
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap resamples over seeds.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to write to; default: beside the sweep's rows. Needed for several sweeps."),
    ] = None,
) -> None:
    """Estimate what the sweeps' table supports; write report.html, report.md, estimates.json and figures."""
    from grok_sweeps.analysis import analyze as run_analysis
    from grok_sweeps.analysis import render

    opened = store_at(store)
    sweeps = list(dict.fromkeys(sweeps))
    if len(sweeps) > 1 and output is None:
        raise typer.BadParameter("several sweeps have no folder of their own in the store; say --output FOLDER.")
    found = [opened.sweep(name) for name in sweeps]
    plans = [sweep.load_plan() for sweep in found]
    for one, plan in zip(found, plans, strict=True):
        warn_of_name(one)
        if plan is not None:
            warn_of_runs(one, plan)
    planned = {run.run_id for plan in plans if plan is not None for run in plan.runs}
    runs = pd.concat([opened.runs(name) for name in sweeps], ignore_index=True)
    result = run_analysis(
        runs,
        curves_of(opened, sweeps),
        sweep=sweeps,
        n_planned=None if None in plans else len(planned),
        resamples=resamples,
        seed=seed,
    )
    objects = opened.objects if output is None else open_objects(str(output))
    prefix = found[0].layout.analysis("") if output is None else ""
    write_report(result, objects, prefix)
    print_tables(render.terminal_tables(result))
    out = console()
    out.print(f"report: {objects.address(f'{prefix}report.html')}", highlight=False, markup=False, soft_wrap=True)
    folder = objects.address(f"{prefix}figures").removesuffix("figures")
    out.print(f"report.md, estimates.json and figures/: {folder}", highlight=False, markup=False, soft_wrap=True)


def write_report(result: Analysis, objects: ObjectStore, prefix: str = "") -> Figures:
    """Write an analysis as report.html, report.md, estimates.json and figures/; return the figures.

    All of it is made anew from the rows at any time, so a report of before is overwritten.
    """
    from grok_sweeps.analysis import render

    figures = render.figures(result)
    for name, reason in figures.missing.items():
        warning_line(f"the figure {name} could not be drawn: {reason}; its numbers are in the report.")
    files = {
        "estimates.json": render.estimates_json(result).encode(),
        "report.html": render.report_html(result, figures=figures).encode(),
        "report.md": render.report_markdown(result, figures=figures).encode(),
        **{f"figures/{name}": data for name, data in figures.items()},
    }
    for name, data in files.items():
        objects.put(f"{prefix}{name}", data)
    for name in figures.missing:  # one of before is not this report's
        for ending in ("png", "svg"):
            objects.delete(f"{prefix}figures/{name}.{ending}")
    return figures


def curves_of(opened: Store, sweeps: Sequence[str]) -> pd.DataFrame:
    """The readings over time of some sweeps that an analysis uses."""
    from grok_sweeps.analysis.table.tables import READ, READ_IF_THERE

    columns = ("attempt", *READ, *READ_IF_THERE)
    return pd.concat([opened.curves(name, columns=columns) for name in sweeps], ignore_index=True)
