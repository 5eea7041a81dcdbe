"""The command line with hooks that are waited for as long as a slow machine takes."""

from __future__ import annotations

import grok_sweeps.cluster.hooks.hooks
from grok_sweeps.cluster.cli.app import main

PATIENCE_S = 200.0

if __name__ == "__main__":
    grok_sweeps.cluster.hooks.hooks.FLUSH_S = PATIENCE_S
    main()
