"""The process that keeps a tracker up to date: `python -m grok_sweeps.cluster.hooks`, started by `TrackerProcess`.

The first line on standard input says what to do, each further one that there are new rows, and its end that the sweep
is over or its driver gone. Each line on standard output is an event.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable

from grok_sweeps.cluster.hooks.catch_up import CatchUp
from grok_sweeps.cluster.hooks.hook import MOST_CHARACTERS
from grok_sweeps.cluster.hooks.mlflow_tracker import MlflowTracker
from grok_sweeps.cluster.hooks.redact import redacted
from grok_sweeps.cluster.hooks.tracker import Tracker
from grok_sweeps.cluster.hooks.wandb_tracker import WandbTracker
from grok_sweeps.cluster.settings import prepare_trackers
from grok_sweeps.results import open_store
from grok_sweeps.train.failed import one_line

TRACKERS: dict[str, Callable[[str, str], Tracker]] = {"mlflow": MlflowTracker, "wandb": WandbTracker}
LONGEST_S = 60.0
"""After the end of the sweep."""
EVERY_S = 10.0
"""Time between two looks at the store, at least; and as long as the last one took."""
NICE = 10
"""The cores are the training's."""


def main() -> None:
    """Log until the input ends, once more after that, and end."""
    told, sys.stdout = sys.stdout, sys.stderr  # what a tracker prints is no event
    warnings.simplefilter("ignore")
    os.nice(NICE)
    asked = json.loads(sys.stdin.readline())
    name, target, sweep = asked["tracker"], asked["target"], asked["sweep"]
    prepare_trackers()
    catch_up = CatchUp(open_store(asked["store"], threads=1), sweep, lambda: TRACKERS[name](target, sweep))
    news, over = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(news, over), daemon=True).start()

    def tell(text: str) -> None:
        said = " ".join(redacted(text, target).split())[:MOST_CHARACTERS]
        print(f"{name}: {said}", file=told, flush=True)

    has_failed = False
    while True:
        news.wait()
        news.clear()
        last = over.is_set()
        began = time.monotonic()
        try:
            catch_up.log_what_is_missing()
            has_failed = False
        except Exception as error:
            if last:
                lacks = f"{catch_up.missing} of {catch_up.rows} runs" if catch_up.rows else "what is new"
                tell(f"{lacks} not logged, `grok-sweeps resume {sweep}` tries again: {one_line(error)}")
            elif not has_failed:
                tell(f"{one_line(error)}; it is tried again")
            has_failed = True
        if last:
            break
        over.wait(max(EVERY_S, time.monotonic() - began))


def _listen(news: threading.Event, over: threading.Event) -> None:
    for _ in sys.stdin:
        news.set()
    # A driver that still lives waits no longer; where it is gone, nobody else ends what never answers.
    threading.Timer(LONGEST_S, os.killpg, (os.getpgrp(), signal.SIGKILL)).start()
    over.set()
    news.set()


if __name__ == "__main__":
    main()
