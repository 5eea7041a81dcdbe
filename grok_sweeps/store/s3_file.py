"""An S3 object as a file that is read here and there: one request a read, none where the first one brought it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FIRST_BYTES = 128 << 10
"""What opening an object brings: a checkpoint's header, and smaller objects whole."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first bytes of an object, its size in bytes, and the version they are of."""

    data: bytes
    size: int
    etag: str


class RangedFile(io.RawIOBase):
    """A file that begins with `beginning`; `fetch(first, last)` gives bytes from beyond it, both included."""

    def __init__(self, beginning: Beginning, fetch: Callable[[int, int], bytes]) -> None:
        self._beginning, self._fetch, self._position = beginning, fetch, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, counted from the start, the present position or the end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._beginning.size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the object goes."""
        view = memoryview(buffer).cast("B")
        start = self._position
        end = min(start + len(view), self._beginning.size)
        if end <= start:
            return 0
        held = self._beginning.data[start:end]
        fetched = b"" if start + len(held) == end else self._fetch(start + len(held), end - 1)
        view[: len(held)], view[len(held) : end - start] = held, fetched
        self._position = end
        return end - start
