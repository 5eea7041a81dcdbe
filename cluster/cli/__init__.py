"""The command line `grok-sweeps`: one file a group of commands, all errors one line."""

from grok_sweeps.cluster.cli.app import main

__all__ = ["main"]
