"""Every backend of the store, by name. A new backend adds one line here and has the whole contract to pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from grok_sweeps.store import ObjectStore, open_objects

BACKENDS: dict[str, Callable[[Path], ObjectStore]] = {
    "local": lambda folder: open_objects(str(folder / "store")),
    "file-uri": lambda folder: open_objects(f"file://{folder}/a%20store"),
}
