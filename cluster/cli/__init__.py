"""The command line `grok-sweeps`: one file a group of commands, all errors one line."""

from cluster.cli.app import main

__all__ = ["main"]
