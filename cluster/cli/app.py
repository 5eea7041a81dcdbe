"""Put the commands together and turn our own errors into one line and an exit code."""

from __future__ import annotations

import sys
import warnings

from grok_sweeps.cluster.cli import analyze, audit, doctor, gc, plan, query, status, submit, train  # noqa: F401 (each registers its commands)
from grok_sweeps.cluster.cli.common import app, error_line, warning_line
from grok_sweeps.errors import GrokSweepsError, StoreWarning


def main() -> None:
    """Run the command line."""
    warnings.showwarning = _warning_line  # type: ignore[assignment]
    try:
        app()
    except GrokSweepsError as error:
        error_line(str(error))
        sys.exit(error.exit_code)


def _warning_line(message: Warning | str, category: type[Warning], *_place: object) -> None:
    """Show our own warnings as one line; other packages' are not for the user."""
    if issubclass(category, StoreWarning):
        warning_line(str(message))
