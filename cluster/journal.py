"""What a driver says: shown to a person, and kept in the store, which outlives the driver's cluster."""

from __future__ import annotations

import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from grok_sweeps.store import SweepStore

MOST_LINES = 2_000
"""Lines that are kept; what came before them is counted."""
RECENT_LINES = 8
"""Lines that the heartbeat repeats."""


def driver_identity(submission_id: str | None = None) -> dict[str, Any]:
    """Who drives: an id that sorts by time, the host, and the Ray job, if this process is one."""
    now = datetime.now(UTC)
    return {
        "id": f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        "host": socket.gethostname(),
        "submission_id": submission_id,
    }


class Journal:
    """Lines with their time, written to the store when there are new ones. Safe between threads.

    Args:
        store: the sweep's objects.
        driver: who says it, see `driver_identity`.
        show: shows a line to a person.
    """

    def __init__(self, store: SweepStore, driver: Mapping[str, Any], show: Callable[[str], None]) -> None:
        self._store, self.driver, self._show = store, driver, show
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._lock = threading.Lock()
        self._n_lines = self._n_written = 0

    def say(self, text: str) -> None:
        """Record and show something that happened; what repeats itself is said once."""
        with self._lock:
            if self._lines and self._lines[-1].partition(" ")[2] == text:
                return
            self._lines.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}")
            self._n_lines += 1
        self._show(text)

    def recent(self) -> list[str]:
        """The last lines."""
        with self._lock:
            return list(islice(self._lines, max(0, len(self._lines) - RECENT_LINES), None))

    def write(self) -> None:
        """Write the log where it is new.

        Raises:
            StoreError: the store refuses it.
        """
        with self._lock:
            lines, n_lines = list(self._lines), self._n_lines
        if n_lines == self._n_written:
            return
        if n_lines > len(lines):
            lines.insert(0, f"({n_lines - len(lines):,} earlier lines are not kept)")
        self._store.put_log(self.driver["id"], "\n".join(lines) + "\n")
        self._n_written = n_lines
