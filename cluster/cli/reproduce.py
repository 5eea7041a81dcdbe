"""reproduce: train the paper's runs, analyse them, and set every printed number beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer
from rich.table import Table

from grok_sweeps.cluster.cli.analyze import curves_of, write_report
from grok_sweeps.cluster.cli.common import (
    SetOption,
    StoreOption,
    TokenFileOption,
    app,
    console,
    error_line,
    print_tables,
    say,
    store_at,
)
from grok_sweeps.cluster.cli.submit import is_jobs_server, submit_spec
from grok_sweeps.cluster.cli.train import Request, train
from grok_sweeps.cluster.costs import plan_cost
from grok_sweeps.cluster.jobs import JobsServer
from grok_sweeps.cluster.reproduce.missing import lacks, left_out
from grok_sweeps.cluster.reproduce.parts import CPU, FULL, PARTS, SMOKE, Part, chosen, plan_of, spec_of
from grok_sweeps.cluster.settings import ray_token
from grok_sweeps.cluster.stopping import STOPPED_FOR_A_REASON
from grok_sweeps.cluster.views import duration
from grok_sweeps.spec import with_execution
from grok_sweeps.store import open_objects

if TYPE_CHECKING:
    from grok_sweeps.analysis.reproduction import Reproduction
    from grok_sweeps.results import Store

INTERRUPTED = 130


class Scale(StrEnum):
    """How much of the paper is trained."""

    smoke = SMOKE
    cpu = CPU
    full = FULL


@dataclass(frozen=True)
class Found:
    """Rows of the paper's runs in the store, each run once, and the sweeps they are in."""

    runs: pd.DataFrame

    @property
    def ids(self) -> frozenset[str]:
        """Runs that have a row."""
        return frozenset(self.runs.run_id)

    def left(self, part: Part) -> int:
        """How many runs of a part have no row."""
        return len(plan_of(part).run_ids() - self.ids)

    def to_train(self, part: Part) -> int:
        """How many runs its sweep would train: none where other sweeps have what it lacks, else all that it lacks."""
        return len(plan_of(part).run_ids() - set(self.runs.run_id[self.runs.sweep == part.sweep])) * bool(
            self.left(part)
        )


@app.command()
def reproduce(
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="PRESET,…", help="These experiments alone: paper/collapse,paper/dose."),
    ] = None,
    scale: Annotated[
        Scale,
        typer.Option("--scale", help="smoke: 10 minutes on 2 cores; cpu: 90; full: every run of paper/all."),
    ] = Scale.full,
    store: StoreOption = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="A jobs server, http://HOST:8265, to hand the sweeps to; or as for `run`. Without it, this machine.",
        ),
    ] = None,
    token_file: TokenFileOption = None,
    settings: SetOption = None,
    released: Annotated[
        list[Path] | None,
        typer.Option(
            "--released", metavar="FILE", help="CSV of released runs, one row a seed, to compare with; may be repeated."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder to write to; what an earlier call wrote there is replaced.")
    ] = Path("reproduction"),
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap resamples over seeds.")] = 4000,
) -> None:
    """Train the runs of arXiv:2606.18465 that have no row yet, and compare every number that it prints with ours."""
    from grok_sweeps.analysis.released import read_released

    parts = chosen(scale.value, [name.strip() for name in (only or "").split(",") if name.strip()])
    theirs = read_released(released) if released else None
    opened = store_at(store)
    found = _found(opened)
    _say_what_is_left(opened, parts, found, scale.value, settings or (), output, address)
    code = _train([part for part in parts if found.left(part)], opened, address, token_file, settings or ())
    found = _found(opened)
    made = _reproduction(opened, found, parts, scale.value, theirs, resamples)
    paths = _write(made, output)
    from grok_sweeps.analysis import render

    print_tables([render.summary_table(made)])
    if made.twins:
        say(render.twins_line(made.twins))
    for what, path in paths.items():
        say(f"{what}: {path}")
    left = sum(found.left(part) for part in parts)
    if left:
        error_line(f"{left:,} runs have no row yet; run the same command again to go on.")
    failed = made.analysis.counts.n_failed
    if failed and not code:
        error_line(f"{failed} runs failed; `grok-sweeps resume SWEEP --failed` trains them again.")
    if code or left or failed:
        raise typer.Exit(code or 1)


def _say_what_is_left(
    opened: Store,
    parts: Sequence[Part],
    found: Found,
    scale: str,
    settings: Sequence[str],
    output: Path,
    address: str | None,
) -> None:
    """Print what will be trained, about how long it takes, and where everything goes."""
    table = Table("part", "sweep", "runs", "to train", "about", title=f"reproduce, scale {scale}", title_justify="left")
    seconds = 0.0
    for part in parts:
        plan, left = plan_of(part), found.to_train(part)
        about = "-"
        if left and address is None:
            spec = with_execution(spec_of(part)[0], settings)
            cost = plan_cost(plan, spec.execution, opened).cost
            if cost.wall_s is not None:
                share = cost.wall_s * left / len(plan.runs)
                seconds += share
                about = duration(share)
        table.add_row(str(part), part.sweep, f"{len(plan.runs):,}", f"{left:,}", about)
    console().print(table)
    left = sum(found.to_train(part) for part in parts)
    about = f", about {duration(seconds)} on this machine, without start-up" if seconds else ""
    say(f"{left:,} runs to train{about}. Store: {opened.uri}. Results: {open_objects(str(output)).address('')}")


def _train(
    parts: Sequence[Part], opened: Store, address: str | None, token_file: Path | None, settings: Sequence[str]
) -> int:
    """Train the parts one after another, or hand them over; return an exit code."""
    code = 0
    for number, part in enumerate(parts, 1):
        spec, text = spec_of(part)
        spec = with_execution(spec, settings)
        say(f"part {number} of {len(parts)}: {part}")
        if address is not None and is_jobs_server(address):
            submit_spec(opened, JobsServer(address, ray_token(token_file)), spec, text, settings=settings)
            continue
        try:
            train(opened, spec, text, Request(address, token_file))
        except typer.Exit as ended:
            code = code or ended.exit_code
            if ended.exit_code in (INTERRUPTED, STOPPED_FOR_A_REASON):
                raise
    return code


def _found(opened: Store) -> Found:
    """The rows of the paper's runs, of the parts' own sweeps first where another sweep has a run too."""
    wanted = sorted(frozenset().union(*(plan_of(part).run_ids() for part in PARTS)))
    runs = opened.runs(run_id=wanted)
    own = runs.sweep.isin([part.sweep for part in PARTS])
    runs = runs.assign(own=own).sort_values("own", ascending=False, kind="stable").drop_duplicates("run_id")
    return Found(runs.drop(columns="own").reset_index(drop=True))


def _reproduction(
    opened: Store, found: Found, asked: Sequence[Part], scale: str, theirs: pd.DataFrame | None, resamples: int
) -> Reproduction:
    from grok_sweeps.analysis import analyze
    from grok_sweeps.analysis.released import twins
    from grok_sweeps.analysis.reproduction import PartRuns, reproduction

    planned = frozenset().union(*(plan_of(part).run_ids() for part in asked))
    runs = found.runs[found.runs.run_id.isin(planned)]
    sweeps = sorted(set(runs.sweep))
    result = analyze(
        runs.reset_index(drop=True),
        curves_of(opened, sweeps) if sweeps else pd.DataFrame(),
        sweep=sweeps,
        n_planned=len(planned),
        resamples=resamples,
    )
    released = None
    if theirs is not None:
        released = analyze(theirs, pd.DataFrame(), sweep=sorted(set(theirs.sweep)), resamples=resamples).claims
    left: Mapping[Part, int] = {part: len(plan_of(part).run_ids() - (found.ids & planned)) for part in PARTS}
    parts = tuple(
        PartRuns(
            str(part),
            part.sweep,
            len(plan_of(part).runs),
            len(plan_of(part).runs) - left[part],
            left_out([part], scale) if left[part] and part not in asked else "",
        )
        for part in PARTS
    )
    return reproduction(
        f"The paper at scale {scale}",
        result,
        parts,
        lacks(scale, asked, left),
        released=released,
        twins=None if theirs is None else twins(runs, theirs),
    )


def _write(made: Reproduction, output: Path) -> dict[str, str]:
    """Write everything into the folder; return what is where."""
    from grok_sweeps.analysis import render

    objects = open_objects(str(output))
    figures = write_report(made.analysis, objects)
    files = {
        "reproduction.html": render.reproduction_html(made, figures),
        "reproduction.md": render.reproduction_markdown(made, figures),
        "claims.csv": render.claims_csv(made),
        "claims.json": render.claims_json(made),
    }
    for name, text in files.items():
        objects.put(name, text.encode())
    return {
        "every printed number": objects.address("reproduction.html"),
        "the whole analysis": objects.address("report.html"),
        "the same as data, Markdown and figures": objects.address("claims.csv").removesuffix("claims.csv"),
    }
