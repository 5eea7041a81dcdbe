"""Try out the writes that the lease needs: some servers that speak S3 ignore a write's condition without an error."""

from __future__ import annotations

import contextlib
import secrets

from grok_sweeps.errors import NoConditionalWritesError, StoreError
from grok_sweeps.store.objects import ObjectStore

PROBE = "probe-"
"""What the names of probes begin with; one that a killed process left is deleted by `gc`."""


def probe_conditional_writes(objects: ObjectStore, folder: str) -> str | None:
    """Return why writes on a condition do not work in this store, as a sentence, or None where they do.

    Raises:
        StoreError: the store cannot be written at all, or nothing can be deleted there.
    """
    name = f"{folder}/{PROBE}{secrets.token_hex(8)}"
    try:
        why = _what_is_wrong(objects, name)
    except NoConditionalWritesError as error:
        why = str(error)
    except StoreError:
        with contextlib.suppress(StoreError):  # what made it fail is told, and `gc` deletes what is left
            objects.delete(name)
        raise
    objects.delete(name)
    return why


def _what_is_wrong(objects: ObjectStore, name: str) -> str | None:
    first, second, third = (secrets.token_bytes(16) for _ in range(3))
    if not objects.create(name, first):
        return "a new object is taken for one that is there."
    if objects.create(name, second) or objects.get(name) != first:
        return "an object that is there is overwritten by a write that is to create one (If-None-Match)."
    found = objects.get_with_etag(name)
    old = found[1] if found else ""
    new = objects.replace(name, second, old)
    if new is None or objects.get_with_etag(name) != (second, new):
        return "an object whose ETag is right is not replaced (If-Match)."
    if objects.replace(name, third, old) is not None or objects.get(name) != second:
        return "an object whose ETag has changed is replaced all the same (If-Match)."
    return None
