"""What all commands share: the app, the consoles, and options that mean the same everywhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from grok_sweeps.cluster.settings import STORE_VARIABLE, default_store
from grok_sweeps.results import Store, open_store

app = typer.Typer(
    name="grok-sweeps",
    help="Sweeps of grokking experiments: plan, run, resume, query, analyse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URI", help=f"Directory or s3:// URI of the results; default ${STORE_VARIABLE} or ./sweeps."
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="A Ray jobs server, http://HOST:8265; default for submit $RAY_API_SERVER_ADDRESS, else the sweep's last.",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="Holds the cluster's token; default $RAY_AUTH_TOKEN or the file $RAY_AUTH_TOKEN_PATH.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="execution.KEY=VALUE", help="Another value for a key of `execution`; may be repeated."
    ),
]
WaitForNodesOption = Annotated[
    float,
    typer.Option(
        "--wait-for-nodes", metavar="SECONDS", min=0.0, help="How long a cluster without room may take to make some."
    ),
]
WaitForDriverOption = Annotated[
    float,
    typer.Option(
        "--wait-for-driver",
        metavar="SECONDS",
        min=0.0,
        help="How long another driver that is at work on the sweep may take to end.",
    ),
]
NoLeaseOption = Annotated[
    bool,
    typer.Option(
        "--no-lease", help="For a store without conditional writes: nothing then keeps a second driver off the sweep."
    ),
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME",
        help="An environment variable to hand on to the cluster, where its jobs' list shows it; may be repeated.",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--max-gpu-hours",
        metavar="H",
        min=0,
        help="Stop in good order once the sweep's packs have held GPUs for H hours, over all its drivers; CPU cores "
        "where they hold no GPU.",
    ),
]
SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="A YAML file, the name of a preset, or - for standard input.")
]
SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a sweep in the store.")]


def console() -> Console:
    """Standard output; unbounded in width where it is not a terminal, so that nothing is cut."""
    return Console() if sys.stdout.isatty() else Console(width=10_000)


def say(text: str, end: str = "\n") -> None:
    """Print text as it is: nothing in it is markup, and no line is broken."""
    console().print(text, end=end, highlight=False, markup=False, soft_wrap=True)


def error_line(text: str) -> None:
    """Print an error as one line on standard error."""
    _stderr_line(f"error: {text}", "red")


def warning_line(text: str) -> None:
    """Print a warning as one line on standard error."""
    _stderr_line(f"warning: {text}", "yellow")


def _stderr_line(text: str, style: str) -> None:
    Console(stderr=True, soft_wrap=True).print(" ".join(text.split()), style=style, markup=False, highlight=False)


def store_at(uri: str | None) -> Store:
    """The store named by `--store`, the environment or the default."""
    return open_store(uri or default_store())


def print_tables(tables: Sequence[RenderableType]) -> None:
    """Print rich tables, or text between them, with an empty line after each."""
    out = console()
    for table in tables:
        out.print(table)
        out.print()
