"""The processes of the Ray that a driver starts for itself, kept from the signals that the driver gets.

`timeout`, Slurm, systemd and a closed terminal signal every process of a group or a session. Ray's would end at once,
and with them all that could still write states. So they get a session of their own, and hold SIGTERM, SIGINT and SIGHUP
back; the driver ends them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from grok_sweeps.cluster.ray_private import START_PROCESS, TAKE_SIGTERM, replaced

HELD_BACK = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_NEEDED = ("gcs_server", "raylet")
_WATCH = """
trap '' TERM INT HUP
read -r sessions
read -r line && exit
for process in /proc/[0-9]*; do
    { read -r line <"$process/stat"; } 2>/dev/null || continue
    set -- ${line##*) }
    case " $sessions " in *" $4 "*) kill -9 "${process#/proc/}" 2>/dev/null ;; esac
done
rm -rf -- "$0"
"""
"""Reads the sessions, then waits. At the end of its input the driver is dead: kills the sessions, deletes `$0`."""
_LOOK_EVERY_S = 0.1


@contextlib.contextmanager
def own_sigterm() -> Iterator[None]:
    """Meanwhile Ray does not take SIGTERM for itself: the handler of before stays, or is there again at the end."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with replaced(TAKE_SIGTERM, lambda before: lambda handler: None):  # noqa: ARG005
            yield
    finally:
        if threading.current_thread() is threading.main_thread():  # its C++ part has one too
            signal.signal(signal.SIGTERM, handler)


class OwnSession:
    """Ray's processes that were started under `starting`; each leads a session."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[Any]] = []
        self._watcher: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def starting(self, folder: Path) -> Iterator[None]:
        """Meanwhile what Ray starts gets a session of its own; afterwards neither it nor `folder` outlives us."""

        def in_a_session(popen: Any) -> Any:
            def start(*arguments: Any, preexec_fn: Callable[[], None] | None = None, **options: Any) -> Any:
                def prepare() -> None:
                    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
                    if preexec_fn is not None:
                        preexec_fn()

                process = popen(*arguments, preexec_fn=prepare, start_new_session=True, **options)
                process.terminate = process.kill  # it would not notice the other
                self._started.append(process)
                return process

            return start

        self._watcher = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _WATCH, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with own_sigterm(), replaced(START_PROCESS, in_a_session):
            yield
        self._tell(" ".join(str(process.pid) for process in self._started))

    def _tell(self, line: str) -> None:
        assert self._watcher is not None
        assert self._watcher.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._watcher.stdin.write(f"{line}\n".encode())
            self._watcher.stdin.flush()

    def lost(self) -> str | None:
        """The name of a process that Ray cannot do without and that has ended; None while all are there."""
        for process in self._started:
            name = Path(str(process.args[0] if isinstance(process.args, list) else process.args)).name
            if name in _NEEDED and process.poll() is not None:
                return name
        return None

    def end_workers(self, title: str, longest_s: float) -> None:
        """Send SIGTERM to the workers whose command line contains `title`, and wait until they are gone."""
        until = time.monotonic() + longest_s
        asked: set[int] = set()
        while (there := self._titled(title)) and time.monotonic() < until:
            for pid in there - asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            asked |= there
            time.sleep(_LOOK_EVERY_S)

    def kill(self) -> None:
        """End all that is left of it."""
        for pid in self._titled(""):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.wait()
        self._started.clear()
        if self._watcher is not None:
            self._tell("\n")  # two lines: it may not have been told the sessions
            self._watcher.communicate()
            self._watcher = None

    def _titled(self, title: str) -> set[int]:
        """Processes of these sessions with `title` in their command line."""
        sessions = {process.pid for process in self._started}
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid = int(folder.name)
                if os.getsid(pid) in sessions and title.encode() in (folder / "cmdline").read_bytes():
                    found.add(pid)
        return found
