"""The command line with workers that stand still in a method of their trial until they are killed.

`python held_driver.py METHOD ARGUMENTS...`. The first `HOLDS` workers that come to METHOD, `setup` or `reset_config`,
each leave their process id in a file `held-K` beside the store.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from grok_sweeps.cluster.cli import train
from grok_sweeps.cluster.cli.app import main
from grok_sweeps.cluster.driver import run_sweep
from grok_sweeps.cluster.trial import PackTrial

HOLDS = 2
LONGEST_S = 240.0


class HeldPackTrial(PackTrial):
    """Stands still in `held_in`."""

    held_in = ""

    def setup(self, config: dict[str, Any]) -> None:
        """Start, or stand still before that."""
        self._hold("setup", config)
        super().setup(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Change to another pack, or stand still before that."""
        self._hold("reset_config", new_config)
        return super().reset_config(new_config)

    def _hold(self, method: str, config: dict[str, Any]) -> None:
        for k in range(HOLDS if method == self.held_in else 0):
            with (
                contextlib.suppress(FileExistsError),
                (Path(config["store"]).parent / f"held-{k}").open("x") as file,
            ):
                file.write(str(os.getpid()))
                file.flush()
                threading.Event().wait(LONGEST_S)
                raise TimeoutError("nobody has killed this worker")


if __name__ == "__main__":
    HeldPackTrial.held_in = sys.argv.pop(1)
    train.run_sweep = partial(run_sweep, trainable=HeldPackTrial)
    main()
