"""Put the commands together and turn our own errors into one line and an exit code."""

from __future__ import annotations

import sys

from cluster.cli import analyze, query, sweeps  # noqa: F401 (each registers its commands)
from cluster.cli.common import app, error_line
from grok_sweeps.errors import GrokSweepsError


def main() -> None:
    """Run the command line."""
    try:
        app()
    except GrokSweepsError as error:
        error_line(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
