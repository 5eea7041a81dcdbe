"""Keeps the files of rows and curves few while a sweep is driven."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pyarrow as pa

from grok_sweeps.errors import LeaseLostError, StoreError
from grok_sweeps.store import SweepStore
from grok_sweeps.store.compact import Known, compact
from grok_sweeps.store.lease import Lease
from grok_sweeps.store.rows import RowLog

LOOK_EVERY_S = 30.0
FEWEST_NEW = 500
"""New files of rows from which a compaction is worth it while the sweep goes on; it does not read what is full."""


class Compactor:
    """Compacts from a thread of its own while packs train, and once more at the end.

    Args:
        store: the sweep.
        log: its rows, as the driver has read them; says how many files there are.
        say: tells the user.
        lease: looked at before each write and deletion; None where there is none.
    """

    def __init__(self, store: SweepStore, log: RowLog, say: Callable[[str], None], lease: Lease | None = None) -> None:
        self._store, self._log, self._say = store, log, say
        self._lease = lease
        self._compacted_at = 0
        self._known: Known = {}
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="compactor", daemon=True)

    def __enter__(self) -> Compactor:
        self._compacted_at = self._log.n_files
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def compact(self, *, at_the_end: bool = True) -> None:
        """Replace many files by few; on failure the many remain valid. At the end no pack trains any more."""
        try:
            with self._one_at_a_time:
                if at_the_end:
                    self._log.refresh()
                finished = self._log.rows if at_the_end else None
                done = compact(self._store, self._check, at_the_end=at_the_end, finished=finished, known=self._known)
        except (StoreError, pa.ArrowException) as error:
            self._say(f"not compacted: {' '.join(str(error).split())}")
            return
        if done.files_before:
            self._say(f"{done.files_before} files of rows and curves compacted into {done.files_after}")

    def _check(self) -> None:
        """Stop a compaction where another driver is at work, or this one ends."""
        if self._ended.is_set():
            raise LeaseLostError("the driver ends")
        if self._lease is not None:
            self._lease.check()

    def _loop(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            n_files = self._log.n_files
            if n_files - self._compacted_at >= FEWEST_NEW:
                self._compacted_at = n_files
                self.compact(at_the_end=False)
