"""A checksum inside of what it is the checksum of: SHA-256 of all bytes, taken with zeros in its own place.

It stands as text after the key `grok_sweeps_seal`, in the footer of a Parquet file and in a JSON object. Checking takes
20 µs for a file of rows that takes 8 ms to decode, so everything that is read is checked.
"""

from __future__ import annotations

import hashlib
import re

from grok_sweeps.errors import CorruptObjectError

KEY = "grok_sweeps_seal"
OPEN = "sha256 " + "0" * 64
"""What stands in a seal's place before it is set."""
_KEY = KEY.encode()
_SEAL = re.compile(rb"sha256 ([0-9a-f]{64})")


def seal(data: bytes) -> bytes:
    """Set the seal of bytes that hold the key and an open one."""
    found = _find(data)
    assert found is not None
    return data[: found.start(1)] + _digest(data, found) + data[found.end(1) :]


def is_sealed(data: bytes, name: str) -> bool:
    """Whether there is a seal, which holds; objects from before the seal have none.

    Raises:
        CorruptObjectError: it is broken: the object `name` is damaged.
    """
    if _KEY not in data:
        return False
    found = _find(data)
    if found is None or found[1] != _digest(data, found):
        raise CorruptObjectError(f"{name}: damaged; it does not match its checksum.")
    return True


def _find(data: bytes) -> re.Match[bytes] | None:
    return _SEAL.search(data, data.rfind(_KEY))


def _digest(data: bytes, found: re.Match[bytes]) -> bytes:
    view = memoryview(data)
    digest = hashlib.sha256(view[: found.start(1)])
    digest.update(b"0" * 64)
    digest.update(view[found.end(1) :])
    return digest.hexdigest().encode()
