"""`grok-sweeps` whose process gets SIGTERM when it is about to write its first compact file."""

from __future__ import annotations

import os
import signal

import grok_sweeps.store.compact
from grok_sweeps.cluster.cli.app import main
from grok_sweeps.store.local import LocalObjects

_put = LocalObjects.put


def put(objects: LocalObjects, name: str, data: bytes) -> None:
    """Write an object, after the signal where it is a compact file."""
    if grok_sweeps.store.compact.is_compact(name):
        os.kill(os.getpid(), signal.SIGTERM)
    _put(objects, name, data)


if __name__ == "__main__":
    grok_sweeps.store.compact.FEWEST_FILES = 2
    LocalObjects.put = put  # type: ignore[method-assign]
    main()
