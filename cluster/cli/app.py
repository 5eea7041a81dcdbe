"""Put the commands together and turn our own errors into one line and an exit code."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from grok_sweeps.cluster.cli import analyze, audit, doctor, gc, plan, query, reproduce, status, submit, train  # noqa: F401 (each registers its commands)
from grok_sweeps.cluster.cli.common import app, error_line, say, warning_line
from grok_sweeps.cluster.cli.output import (
    CLOSED_PIPE,
    OutputLostError,
    guarded_errors,
    guarded_output,
    open_closed_streams,
)
from grok_sweeps.errors import GrokSweepsError, StoreWarning
from grok_sweeps.provenance import VERSION


def main() -> None:
    """Run the command line."""
    warnings.showwarning = _warning_line  # type: ignore[assignment]
    open_closed_streams()
    with guarded_errors():
        code = _run()
        sys.exit(code)


def _run() -> int:
    """Run the command; return its exit code where it did not exit by itself."""
    try:
        with guarded_output():
            app()
    except OutputLostError as error:
        if error.is_closed_pipe:
            return CLOSED_PIPE
        error_line(str(error))
        return 1
    except GrokSweepsError as error:
        error_line(str(error))
        return error.exit_code
    return 0


def _print_version(asked: bool) -> None:
    if asked:
        say(f"grok-sweeps {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _warning_line(message: Warning | str, category: type[Warning], *_place: object) -> None:
    """Show our own warnings as one line; other packages' are not for the user."""
    if issubclass(category, StoreWarning):
        warning_line(str(message))
