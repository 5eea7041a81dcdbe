"""The command line in processes of its own, and how to kill parts of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

WAIT_S = 240.0
"""Bound on every wait for a condition; a slow machine needs a fraction of it."""


def wait_until(condition: Callable[[], object], what: str, of: Sweeping | None = None) -> None:
    """Wait for a condition, not for a time; where it is one of a sweep, as long as that is under way."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert of is None or of.process.poll() is None, f"the command has ended before {what}"
        assert time.monotonic() < deadline, f"did not happen in {WAIT_S:.0f} s: {what}"
        time.sleep(0.05)


def cli(
    *arguments: str, cwd: Path, program: Sequence[str] = ("-m", "grok_sweeps.cluster.cli")
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `program` is that of `Sweeping`."""
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=WAIT_S * 2,
        check=False,
    )


class Sweeping:
    """A `grok-sweeps run` under way, with the environment of this process unless another is given.

    `program` is what Python runs: the command line, or a test's own around it.
    """

    def __init__(
        self,
        arguments: list[str],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "grok_sweeps.cluster.cli"),
    ) -> None:
        with (cwd / "run.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, *arguments], cwd=cwd, env=environment, stdout=log, stderr=log
            )

    def descendants(self) -> list[psutil.Process]:
        """Every process below the command: Ray's daemons and workers."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def workers(self, doing: str = "") -> list[psutil.Process]:
        """The processes that train packs, or those that are in a method of `PackTrial` now."""
        found = []
        for process in self.descendants():
            with contextlib.suppress(psutil.Error):
                title = " ".join(process.cmdline()).strip()  # Ray writes what an actor does
                if title.endswith(f"PackTrial.{doing}") if doing else "PackTrial" in title:
                    found.append(process)
        return found

    def kill_everything(self) -> None:
        """SIGKILL the command and all below it, and wait until they are gone."""
        everyone = [*self.descendants(), psutil.Process(self.process.pid)]
        kill(everyone)
        self.process.wait()

    def kill_driver(self) -> list[psutil.Process]:
        """SIGKILL the command alone and wait until its workers are gone.

        Returns what else was below it and must end by itself; Ray's agents take a minute.
        """
        workers, below = self.workers(), self.descendants()
        self.process.kill()
        self.process.wait()
        assert not psutil.wait_procs(workers, timeout=WAIT_S)[1], "workers outlive their driver"
        return below


def kill(processes: list[psutil.Process]) -> int:
    """SIGKILL processes and wait until they are gone; return how many there were."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=WAIT_S)
    return len(processes)
