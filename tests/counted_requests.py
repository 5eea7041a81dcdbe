"""A store that counts what it is asked, the way S3 counts: a page of names, an object, a range of one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from grok_sweeps.store import ObjectInfo, ObjectStore
from grok_sweeps.store.s3_file import FIRST_BYTES, Beginning, RangedFile

PAGE = 1_000
"""Names that one answer to a listing holds."""


class CountedRequests:
    """The objects of another store. `requests` holds the operation and the object of each request.

    Args:
        objects: the store.
        parallel: requests at once; a store across a network has more than one.
    """

    def __init__(self, objects: ObjectStore, parallel: int = 1) -> None:
        self._objects, self.parallel, self.uri = objects, parallel, objects.uri
        self.requests: list[tuple[str, str]] = []
        self.bytes_read = 0

    def get(self, name: str) -> bytes | None:
        return self._read(name, self._objects.get(name))

    def open(self, name: str) -> BinaryIO | None:
        data = self._objects.get(name)
        first = self._read(name, None if data is None else data[:FIRST_BYTES])
        if data is None or first is None:
            return None

        def fetch(begin: int, end: int) -> bytes:
            return self._read(name, data[begin : end + 1]) or b""

        return cast(BinaryIO, RangedFile(Beginning(first, len(data), ""), fetch)) if data else io.BytesIO()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        k = -1
        for k, info in enumerate(self._objects.list(prefix)):
            if k % PAGE == 0:
                self.requests.append(("list", prefix))
            yield info
        if k < 0:
            self.requests.append(("list", prefix))

    def put(self, name: str, data: bytes) -> None:
        self.requests.append(("put", name))
        self._objects.put(name, data)

    def delete(self, name: str) -> None:
        self.requests.append(("delete", name))
        self._objects.delete(name)

    def _read(self, name: str, data: bytes | None) -> bytes | None:
        self.requests.append(("read", name))
        self.bytes_read += len(data or b"")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)
