"""What a driver says, kept in the store too, so that it can be read when the driver's cluster is gone."""

from __future__ import annotations

import secrets
import socket
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from grok_sweeps.store import SweepStore

MOST_LINES = 2_000
"""Lines that are kept; what came before them is counted."""


def driver_identity(submission_id: str | None) -> dict[str, Any]:
    """Who drives: an id that sorts by time, the host, and the Ray job, if it is one."""
    now = datetime.now(UTC)
    return {
        "id": f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        "host": socket.gethostname(),
        "submission_id": submission_id,
    }


class DriverLog:
    """Lines with their time, written to the store when there are new ones."""

    def __init__(self, store: SweepStore, driver: Mapping[str, Any]) -> None:
        self._store, self._driver = store, driver["id"]
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._n_lines = self._n_written = 0

    def add(self, text: str) -> None:
        """Add a line."""
        self._lines.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}")
        self._n_lines += 1

    def write(self) -> None:
        """Write the log where it is new.

        Raises:
            StoreError: the store refuses it.
        """
        if self._n_lines == self._n_written:
            return
        lines, n_lines = list(self._lines), self._n_lines
        if n_lines > len(lines):
            lines.insert(0, f"({n_lines - len(lines):,} earlier lines are not kept)")
        self._store.put_log(self._driver, "\n".join(lines) + "\n")
        self._n_written = n_lines
