"""Every process that a campaign has started, however far below it: to find them, to signal them, to see them end.

The campaign adopts what loses its parent (a child subreaper, prctl(2)), so nothing that it started can hide from it,
and it signals nothing that it did not start.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil

PR_SET_CHILD_SUBREAPER = 36
LOOK_EVERY_S = 0.05


def adopt_orphans() -> None:
    """Make this process the parent of every descendant that loses its own. Linux."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


class Family:
    """The descendants of this process that belong to sweeps; a server that is kept does not.

    `waited_for` are children for whose end something else waits: theirs is not taken away.
    """

    def __init__(self) -> None:
        self._kept: list[Callable[[], subprocess.Popen[bytes] | None]] = []
        self.waited_for: set[int] = set()

    def keep(self, server: Callable[[], subprocess.Popen[bytes] | None]) -> None:
        """Leave a process out of it, and all below; `server` tells which it is now."""
        self._kept.append(server)

    def alive(self) -> list[psutil.Process]:
        """Those that have not ended; the adopted ones that have are forgotten."""
        kept = self._kept_with_all_below()
        return [p for p in psutil.Process().children(recursive=True) if p.pid not in kept and not self._ended(p)]

    def kill(self, timeout_s: float) -> None:
        """SIGKILL all of them, and what they start meanwhile, and wait until they are gone."""
        self.until(lambda: not self._signalled(signal.SIGKILL), timeout_s)

    @contextlib.contextmanager
    def stopped(self, processes: list[psutil.Process]) -> Iterator[None]:
        """SIGSTOP processes, and SIGCONT them at the end."""
        for process in processes:
            send(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                send(process, signal.SIGCONT)

    def until(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Wait for a condition; return whether it came true."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_EVERY_S)
        return True

    def _signalled(self, number: int) -> list[psutil.Process]:
        found = self.alive()
        for process in found:
            send(process, number)
        return found

    def _kept_with_all_below(self) -> set[int]:
        pids = {process.pid for server in self._kept if (process := server()) is not None}
        below = set(pids)
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                below |= {p.pid for p in psutil.Process(pid).children(recursive=True)}
        return below

    def _ended(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
            if process.ppid() == os.getpid() and process.pid not in self.waited_for:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
        return True


def send(process: psutil.Process, number: int) -> None:
    """Signal a process, if it is still there and still the same."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
