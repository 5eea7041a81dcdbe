"""`grok-sweeps` whose process gets SIGTERM in the middle of compaction."""

from __future__ import annotations

import os
import signal
from typing import Any

import grok_sweeps.cluster.driver
from grok_sweeps.cluster.cli.app import main
from grok_sweeps.store import compact


def _compact(*arguments: Any) -> compact.Compacted:
    os.kill(os.getpid(), signal.SIGTERM)
    return compact.compact(*arguments)


if __name__ == "__main__":
    grok_sweeps.cluster.driver.compact = _compact
    main()
