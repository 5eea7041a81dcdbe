"""The command line with workers that say something and die as they come up: `python dying_driver.py ARGUMENTS...`."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

from grok_sweeps.cluster.cli import train
from grok_sweeps.cluster.cli.app import main
from grok_sweeps.cluster.driver import run_sweep
from grok_sweeps.cluster.trial import PackTrial


class DyingPackTrial(PackTrial):
    """Does not come up."""

    def setup(self, config: dict[str, Any]) -> None:
        """End the process, as a broken library would."""
        print("libnothing.so: undefined symbol: nothing", file=sys.stderr, flush=True)
        os._exit(3)


if __name__ == "__main__":
    train.run_sweep = partial(run_sweep, trainable=DyingPackTrial)
    main()
