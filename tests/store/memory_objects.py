"""Objects in memory, for tests of who writes what when: as quick as a dictionary, and away when a test says so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import cast

from grok_sweeps.errors import StoreError
from grok_sweeps.store import ObjectInfo, ObjectStore


class MemoryObjects:
    """What the lease, rows and curves need of an `ObjectStore`; all is as old as another."""

    uri = "memory"
    parallel = 1

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.away = False
        self.before_write: Callable[[], None] | None = None
        """Done once, between what the next writer has read and its write."""
        self.before_answer: Callable[[], None] | None = None
        """Done once, between the next write and its answer."""
        self.answer_lost = False
        """The next write is done and its answer does not come."""

    def as_store(self) -> ObjectStore:
        return cast(ObjectStore, self)

    def get(self, name: str) -> bytes | None:
        self._reach(name)
        return self.content.get(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._reach(prefix)
        names = sorted(name for name in self.content if name.startswith(f"{prefix}/"))
        yield from [ObjectInfo(name, len(self.content[name]), 0.0) for name in names]

    def server_time(self) -> float | None:
        return 0.0

    def get_with_etag(self, name: str) -> tuple[bytes, str] | None:
        data = self.get(name)
        return None if data is None else (data, hashlib.sha256(data).hexdigest())

    def create(self, name: str, data: bytes) -> bool:
        self._interrupt(name)
        if name in self.content:
            return False
        self._write(name, data)
        return True

    def replace(self, name: str, data: bytes, etag: str) -> str | None:
        self._interrupt(name)
        found = self.get_with_etag(name)
        if found is None or found[1] != etag:
            return None
        self._write(name, data)
        return hashlib.sha256(data).hexdigest()

    def put(self, name: str, data: bytes) -> None:
        self._reach(name)
        self.content[name] = data

    def delete(self, name: str) -> None:
        self._reach(name)
        self.content.pop(name, None)

    def _write(self, name: str, data: bytes) -> None:
        self.content[name] = data
        lost, self.answer_lost = self.answer_lost, False
        meanwhile, self.before_answer = self.before_answer, None
        if meanwhile is not None:
            meanwhile()
        if lost:
            raise StoreError(f"cannot write {name}: no answer")

    def _interrupt(self, name: str) -> None:
        meanwhile, self.before_write = self.before_write, None
        if meanwhile is not None:
            meanwhile()
        self._reach(name)

    def _reach(self, name: str) -> None:
        if self.away:
            raise StoreError(f"cannot reach {name}")
