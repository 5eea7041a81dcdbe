"""`python -m cluster.cli` is `grok-sweeps`."""

from cluster.cli.app import main

main()
