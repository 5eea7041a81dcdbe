"""A disk of its own for a store, and a way to fill it to the last byte and to free it again."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

SIZE = "64m"
BLOCK = 4096


class SmallDisk:
    """A file system in memory, mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / ".ballast"

    def fill(self) -> None:
        """Take all space that is left."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while file.write(bytes(BLOCK)):
                pass

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mount one, and unmount it at the end.

    Raises:
        OSError, CalledProcessError: it cannot be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    subprocess.run(command, capture_output=True, check=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def why_no_disk(folder: Path) -> str | None:
    """Why there can be no small disk here, or None."""
    try:
        with small_disk(folder):
            return None
    except (OSError, subprocess.CalledProcessError):
        return "mounting a small file system is not permitted here"
