"""A tracker in a process of its own, which can be ended whatever it waits for.

The packages of trackers are large, hook into the process that they are in, and keep it from its exit while a server
does not answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

from grok_sweeps.cluster.hooks.hook import Begin, Ending, Tell
from grok_sweeps.progress import Progress


class TrackerProcess:
    """Keeps tracker `name` at `target` up to date with a sweep's rows."""

    def __init__(self, name: str, target: str, begin: Begin, tell: Tell) -> None:
        self._tell = tell
        self._n_seen = -1
        self._process = subprocess.Popen(
            [sys.executable, "-m", "grok_sweeps.cluster.hooks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is the driver's to hear
        )
        self._write(json.dumps({"tracker": name, "target": target, "sweep": begin.sweep, "store": begin.store}))
        self._reader = threading.Thread(target=self._read, name=f"hook {name} events", daemon=True)
        self._reader.start()

    def progress(self, progress: Progress) -> None:
        """Say that there are new rows, if there are."""
        if progress.finished != self._n_seen:
            self._n_seen = progress.finished
            self._write("rows")

    def ended(self, ending: Ending) -> None:  # noqa: ARG002
        """Say that it is over, and wait for the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        code = self._process.wait()
        self._reader.join()
        if code:
            raise ChildProcessError(f"its process ended with code {code}")

    def abandon(self) -> None:
        """Kill the process and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end tells why
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._tell(line.strip())
