"""The command line in processes of its own, and how to kill parts of it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import signal
import subprocess
import sys
import termios
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from grok_sweeps.cluster.cli import main

WAIT_S = 240.0
"""Bound on every wait for a condition; a slow machine needs a fraction of it."""


SHARED_RAY = "GROK_SWEEPS_TEST_RAY"
"""The variable with the address of a Ray that is up."""


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
    """Run a command to its end, on the Ray of `on_one_ray` where a test has that; `program` is that of `Sweeping`."""
    shared = os.environ.get(SHARED_RAY) if arguments[0] in ("run", "resume") else None
    return subprocess.run(
        [sys.executable, *program, *arguments, *(("--address", shared) if shared else ())],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=WAIT_S * 2,
        check=False,
    )


def here(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that starts no Ray in this process, where a process of its own is not what is tested."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),  # which puts back how warnings are shown, too
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        warnings.simplefilter("default")
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["grok-sweeps", *arguments])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    printed, said = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(arguments, code, printed, said)


class Sweeping:
    """A `grok-sweeps run` under way, with the environment of this process unless another is given.

    `program` is what Python runs: the command line, or a test's own around it. With `terminal`, the file descriptor of
    one, the command leads a session there; else it leads its own process group and session with `leads`.
    """

    def __init__(
        self,
        arguments: list[str],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "grok_sweeps.cluster.cli"),
        *,
        leads: bool = False,
        terminal: int | None = None,
    ) -> None:
        self.folder = cwd

        def take_terminal() -> None:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and would be here
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if terminal is not None:
                fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        with (cwd / "run.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                cwd=cwd,
                env=environment,
                stdin=terminal,
                stdout=log,
                stderr=log,
                start_new_session=leads or terminal is not None,
                preexec_fn=take_terminal,  # noqa: PLW1509
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
