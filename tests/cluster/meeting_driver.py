"""The command line with workers that train only once workers of two drivers are there.

`python meeting_driver.py ARGUMENTS...`. Each worker leaves a file `here-PARENT` beside the store, where PARENT is its
driver's raylet, and waits for a second one.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

from grok_sweeps.cluster.cli import train
from grok_sweeps.cluster.cli.app import main
from grok_sweeps.cluster.driver import run_sweep
from grok_sweeps.cluster.trial import PackTrial

LONGEST_S = 240.0
LOOK_EVERY_S = 0.05


class MeetingPackTrial(PackTrial):
    """Waits for the other driver's worker before it begins."""

    def _begin(self) -> None:
        folder = Path(self.config["store"]).parent
        (folder / f"here-{os.getppid()}").touch()
        waited = threading.Event()
        for _ in range(int(LONGEST_S / LOOK_EVERY_S)):
            if len(list(folder.glob("here-*"))) > 1:
                super()._begin()
                return
            waited.wait(LOOK_EVERY_S)
        raise TimeoutError("the other driver has no worker")


if __name__ == "__main__":
    train.run_sweep = partial(run_sweep, trainable=MeetingPackTrial)
    main()
