"""`python -m grok_sweeps.cluster.cli` is `grok-sweeps`."""

from grok_sweeps.cluster.cli.app import main

main()
