"""Notices that Ray's control process, the GCS, is gone. Ray itself waits a minute, then aborts the driver's process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

LOOK_EVERY_S = 0.5


class GcsWatch:
    """Calls `gone` once, from a thread, when the GCS has refused connections for `patience_s`.

    Args:
        gone: what is to be done then.
        patience_s: one that is started again in time is the same to the driver.
        address: asked when the watch begins: HOST:PORT of the GCS.
    """

    def __init__(self, gone: Callable[[], None], patience_s: float, address: Callable[[], str] | None = None) -> None:
        self._gone, self._patience_s, self._address = gone, patience_s, address or _connected_to
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def end(self) -> None:
        """Watch no more."""
        self._stop.set()

    def begin(self) -> None:
        """Watch from now on; again is nothing."""
        if self._thread is None:
            host, _, port = self._address().rpartition(":")
            self._thread = threading.Thread(
                target=self._loop, args=(host.strip("[]"), int(port)), name="gcs watch", daemon=True
            )
            self._thread.start()

    def _loop(self, host: str, port: int) -> None:
        answered = time.monotonic()
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                socket.create_connection((host, port), timeout=5.0).close()
                answered = time.monotonic()
            except OSError:
                if time.monotonic() - answered >= self._patience_s:
                    self._gone()
                    return


def _connected_to() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)
