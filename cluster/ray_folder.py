"""The folder of a local Ray's sockets and logs: private, short enough for its sockets, and gone when Ray has ended.

Ray's own choice, `/tmp/ray`, may be another user's, and below a long `TMPDIR` no socket fits.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from grok_sweeps.errors import ClusterError

SOCKET_BYTES = 107
"""Longest name of a Unix socket."""
_IN_SESSION = len("/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store")
_OWN = len("/gs-") + 8
LONGEST_BASE = SOCKET_BYTES - _IN_SESSION - _OWN
"""Bytes of the longest folder that ours can be made in."""
ROOM_BYTES = 20 << 20
"""What a local Ray writes at least: its logs."""
OBJECT_STORE_BYTES = 100 << 20
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (the system's, not a file of ours)
ALSO = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (where ours is made with a name that was not there)
FIX = f"set RAY_TMPDIR to a folder of at most {LONGEST_BASE} characters that you can write"


def trouble(folder: Path, room_bytes: int = ROOM_BYTES) -> str:
    """Why Ray's folder cannot be made in this one, or nothing."""
    length = len(os.fsencode(folder))
    if not folder.is_absolute():
        return "is no absolute path"
    if length > LONGEST_BASE:
        return f"has {length} characters, and sockets leave room for {LONGEST_BASE}"
    try:
        tried = tempfile.mkdtemp(prefix="gs-", dir=folder)
        os.rmdir(tried)
        stat = os.statvfs(folder)
    except OSError as error:
        return f"cannot be written: {error.strerror or error}"
    free = stat.f_bavail * stat.f_frsize
    return "" if free >= room_bytes else f"has {free / 1e6:,.0f} MB free, and Ray needs {room_bytes / 1e6:,.0f} MB"


def find_base(candidates: Iterable[str | Path]) -> tuple[Path | None, tuple[str, ...]]:
    """The first folder that Ray's can be made in, and what is wrong with those before it."""
    wrong: list[str] = []
    for candidate in dict.fromkeys(map(Path, candidates)):
        why = trouble(candidate)
        if not why:
            return candidate, tuple(wrong)
        wrong.append(f"{candidate} {why}")
    return None, tuple(wrong)


def plasma_folder(folder: Path, shared: Path = SHARED_MEMORY) -> str | None:
    """Where the object store lies: in `folder` where shared memory is too small or not there, else Ray's own choice."""
    return None if shared_bytes(shared) >= OBJECT_STORE_BYTES else str(folder)


def shared_bytes(shared: Path = SHARED_MEMORY) -> int:
    """Free shared memory; 0 where there is none that can be written."""
    try:
        stat = os.statvfs(shared)
    except OSError:
        return 0
    return stat.f_bavail * stat.f_frsize if os.access(shared, os.W_OK) else 0


class RayFolder:
    """A folder of this process alone in one of `candidates`.

    Raises:
        ClusterError: none can hold it.
    """

    def __init__(self, candidates: Sequence[str | Path]) -> None:
        base, wrong = find_base(candidates)
        if base is None:
            raise ClusterError(f"Ray finds no folder for its temporary files: {'; '.join(wrong)}; {FIX}.")
        self.path = Path(tempfile.mkdtemp(prefix="gs-", dir=base))

    def remove(self) -> None:
        """Delete it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def scratch_folder(candidates: Iterable[str | Path]) -> str:
    """A folder of this process for the files of a sweep on a cluster, however long its name.

    Raises:
        ClusterError: no candidate can be written.
    """
    wrong = []
    for candidate in dict.fromkeys(map(Path, candidates)):
        try:
            return tempfile.mkdtemp(prefix="grok-sweeps-", dir=candidate)
        except OSError as error:
            wrong.append(f"{candidate}: {error.strerror or error}")
    raise ClusterError(f"no folder for temporary files: {'; '.join(wrong)}; set TMPDIR to one that you can write.")
