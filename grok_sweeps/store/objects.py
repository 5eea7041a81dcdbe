"""What the store needs of a backend: whole objects under relative names, nothing else.

Concurrency contract: `put` is atomic (a reader sees the old object, the new one or none, never a part) and the last
writer wins; `create` has exactly one winner, and so has `replace` of one ETag; `delete` of a missing object is no
error; `list` may miss objects that are being written while it runs, never ones written before it began. Names use '/'.
A passing fault (a server that does not answer for a while) is waited out by the backend, within a bound; what is raised
is worth a person's attention.

An object that is replaced by its ETag is written by `create` and `replace` alone, and never twice with the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

T = TypeVar("T")

READ_AHEAD = 256
"""Objects that `for_each` may hold at once."""


class ObjectInfo(NamedTuple):
    """Name, size in bytes and time of the last write (seconds since the epoch) of an object."""

    name: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a writer that died left behind, which no listing shows: a temporary file, an unfinished upload."""

    info: ObjectInfo
    discard: Callable[[], None] = field(repr=False)


class ObjectStore(Protocol):
    """Whole objects under relative names. Every method raises `StoreError` naming store, object and operation."""

    uri: str
    """Opens the same store again, in another process too."""
    parallel: int
    """Requests that are worth sending at once: 1 where one does not wait for a network."""

    def put(self, name: str, data: bytes) -> None:
        """Write an object, replacing what was there."""

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless one is there; return whether this call wrote it."""

    def replace(self, name: str, data: bytes, etag: str) -> str | None:
        """Write an object if its ETag is still `etag`; return its new ETag, or None where it was not."""

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes, or None where there is none."""

    def get_with_etag(self, name: str) -> tuple[bytes, str] | None:
        """Return an object's bytes and its ETag, which changes with them; None where there is none."""

    def open(self, name: str) -> BinaryIO | None:
        """Open an object for random reads, or None where there is none.

        A read raises `ObjectGoneError` once the object was deleted or replaced, where the backend cannot go on.
        """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below a folder, in order of their names."""

    def folders(self) -> Iterator[str]:
        """Yield the names of the folders at the top: one a sweep."""

    def delete(self, name: str) -> None:
        """Remove an object if it is there."""

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        """Yield what writers that died, or still write, have below a folder beside its objects."""

    def path(self, name: str) -> Path | None:
        """Return the file that an object is, or None where it is none."""

    def address(self, name: str) -> str:
        """Return the path or URI under which a person finds an object."""

    def server_time(self) -> float | None:
        """Return the time, in seconds since the epoch, by the clock that dates the objects; None if it is not told."""


def get_each(objects: ObjectStore, names: Sequence[str]) -> Iterator[bytes | None]:
    """Yield each object's bytes, or None where there is none, in the order of the names; see `for_each`."""
    return for_each(objects, objects.get, names)


def for_each(objects: ObjectStore, work: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
    """Yield `work(name)` for each name, in their order; at once where the store is across a network."""
    if objects.parallel == 1 or len(names) < 2:
        yield from map(work, names)
        return
    with ThreadPoolExecutor(min(objects.parallel, len(names)), thread_name_prefix="store") as pool:
        later = iter(names)
        begun = deque(pool.submit(work, name) for name in islice(later, READ_AHEAD))
        try:
            while begun:
                done = begun.popleft().result()
                begun.extend(pool.submit(work, name) for name in islice(later, 1))
                yield done
        finally:
            for task in begun:
                task.cancel()
