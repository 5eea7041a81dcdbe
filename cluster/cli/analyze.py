"""analyze: estimates, figures and a report of one sweep."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.cli.common import StoreOption, SweepArgument, app, console, print_tables, store_at


@app.command()
def analyze(
    sweep: SweepArgument,
    store: StoreOption = None,
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap resamples over seeds.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
) -> None:
    """Estimate what the sweep's table supports; write estimates, figures and report beside its rows."""
    from analysis import analyze as run_analysis
    from analysis import render

    opened = store_at(store)
    sweep_store = opened.sweep(sweep)
    plan = sweep_store.load_plan()
    result = run_analysis(
        opened.runs(sweep),
        opened.curves(sweep),
        sweep=sweep,
        n_planned=None if plan is None else len(plan.runs),
        resamples=resamples,
        seed=seed,
    )
    print_tables(render.terminal_tables(result))
    figures = render.figures(result)
    files = {
        "estimates.json": render.estimates_json(result).encode(),
        "report.html": render.report_html(result, figures=figures).encode(),
        **{f"figures/{name}": data for name, data in figures.items()},
    }
    for name, data in files.items():
        opened.objects.put(sweep_store.layout.analysis(name), data)
    out = console()
    folder = opened.objects.address(sweep_store.layout.analysis(""))
    out.print(
        f"report: {opened.objects.address(sweep_store.layout.analysis('report.html'))}", highlight=False, markup=False
    )
    out.print(f"estimates.json and figures: {folder}", highlight=False, markup=False)
