"""Writes to the store in a thread of its own, in order, while the lanes train on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MOST_WAITING = 2
"""Writes under way before the next one waits: what waits holds memory."""


class Writer:
    """One write after the other. Nothing is written after a failure; the next call raises it, and every `finish`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._under_way: deque[Future[None]] = deque()
        self._failed: BaseException | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Write after everything that was submitted before.

        Raises:
            StoreError: an earlier write failed.
        """
        while self._under_way and (len(self._under_way) >= MOST_WAITING or self._under_way[0].done()):
            self._under_way.popleft().result()
        self._under_way.append(self._pool.submit(self._guarded, write))

    def finish(self) -> None:
        """Wait until everything is written.

        Raises:
            StoreError: a write failed.
        """
        while self._under_way:
            self._under_way.popleft().result()
        if self._failed is not None:
            raise self._failed

    def _guarded(self, write: Callable[[], None]) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            write()
        except BaseException as error:
            self._failed = error
            raise
