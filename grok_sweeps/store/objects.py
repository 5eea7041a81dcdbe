"""What the store needs of a backend: whole objects under relative names, nothing else.

Concurrency contract: `put` is atomic (a reader sees the old object, the new one or none, never a part) and the last
writer wins; `create` has exactly one winner; `delete` of a missing object is no error; `list` may miss objects that are
being written while it runs, never ones written before it began. Names use '/'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Name, size in bytes and time of the last write (seconds since the epoch) of an object."""

    name: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """Whole objects under relative names. Every method raises `StoreError` naming object and operation."""

    uri: str

    def put(self, name: str, data: bytes) -> None:
        """Write an object, replacing what was there."""

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless one is there; return whether this call wrote it."""

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes, or None where there is none."""

    def open(self, name: str) -> BinaryIO | None:
        """Open an object for random reads, or None where there is none."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below a folder, in order of their names."""

    def folders(self) -> Iterator[str]:
        """Yield the names of the folders at the top: one a sweep."""

    def delete(self, name: str) -> None:
        """Remove an object if it is there."""

    def glob(self, pattern: str) -> str:
        """Return the address under which DuckDB reads the objects that match `pattern`."""
