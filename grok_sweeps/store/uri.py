"""From a store's URI to its backend. New backends register here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from grok_sweeps.errors import StoreError
from grok_sweeps.store.local import LocalObjects
from grok_sweeps.store.objects import ObjectStore


def open_objects(uri: str) -> ObjectStore:
    """Open the store at `uri`: a path or a `file://` URI. Nothing is written.

    Raises:
        StoreError: a scheme this version cannot store in.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return LocalObjects(Path(unquote(parts.path)).absolute())
    if "://" in uri:
        raise StoreError(
            f"store '{uri}': {parts.scheme}:// is not supported by this version; give a directory or file:///path."
        )
    return LocalObjects(Path(uri).expanduser().absolute())
