"""A clock that jumps for the processes under test alone.

A library is preloaded into them (`clock.c`) that answers the interpreter's questions for the time of day wrongly, by a
number of seconds that changes while they run. Their monotonic clock stays true, as it does when a machine's clock is
set. So rows, heartbeats and the signatures of requests have the wrong time; Ray's own daemons have the right one. A
time namespace cannot do it, since it leaves the time of day alone, and libfaketime 0.9.10 makes `time.sleep` fail with
EINVAL once its monotonic clock is to stay true.
"""

from __future__ import annotations

import mmap
import shutil
import subprocess
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
COMPILE_TIMEOUT_S = 60.0


class JumpingClock:
    """The clock of all processes that were started with `environment`; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        compiler = _compiler()
        assert compiler is not None
        library, file = folder / "clock.so", folder / "clock"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, timeout=COMPILE_TIMEOUT_S)
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._wrong_by_s = memoryview(mmap.mmap(opened.fileno(), 8)).cast("q")
        self.environment = {"LD_PRELOAD": str(library), "GROK_SWEEPS_CLOCK": str(file)}

    def jump(self, seconds: float) -> None:
        """Let the clock be wrong by `seconds`; 0 makes it right again."""
        self._wrong_by_s[0] = round(seconds)


def why_no_clock() -> str | None:
    """Why no clock can jump here, or None."""
    if _compiler() is None:
        return "there is no C compiler for the clock that jumps"
    if not sysconfig.get_config_var("HAVE_SEM_CLOCKWAIT"):
        return "this Python waits by the time of day, so a wrong one would stop it"
    return None


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")
