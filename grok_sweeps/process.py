"""Which process this is, said so that another one can tell whether it is still there.

Only processes that see each other can: those of one boot of one machine and of one PID namespace, so not those of two
containers. Anywhere else, and where the system does not tell (no Linux), the answer is that it may be there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_DEAD = ("Z", "X")
"""States of a process that has ended: a zombie waits for its parent alone."""


def this_process() -> dict[str, Any]:
    """This process as JSON values; what the system does not tell is None."""
    pid = os.getpid()
    return {"pid": pid, "started": _state_and_start(pid)[1], **_machine()}


def has_ended(process: Mapping[str, Any]) -> bool:
    """Whether a process, as `this_process` said it, is certainly no more."""
    here = _machine()
    if None in here.values() or any(process.get(name) != value for name, value in here.items()):
        return False
    pid, started = process.get("pid"), process.get("started")
    if not isinstance(pid, int) or pid <= 0 or started is None:
        return False
    try:
        os.kill(pid, 0)  # /proc may hide other users' processes
    except ProcessLookupError:
        return True
    except OSError:
        pass
    state, start_now = _state_and_start(pid)
    return start_now is not None and (start_now != started or state in _DEAD)


def _machine() -> dict[str, str | None]:
    """The boot and the PID namespace, within which a process id means one process at a time."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return {"boot": boot, "namespace": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {"boot": None, "namespace": None}


def _state_and_start(pid: int) -> tuple[str | None, int | None]:
    """The state of a process and when it began, in ticks since boot: proc(5), fields 3 and 22."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return after_name[0], int(after_name[19])
    except (OSError, IndexError, ValueError):
        return None, None
