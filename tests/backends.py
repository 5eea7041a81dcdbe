"""Every backend of the store, by name. A new backend adds one line here and has the whole contract to pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

BACKENDS: dict[str, Callable[[pytest.FixtureRequest, Path], str]] = {
    "directory": lambda _, folder: f"file://{folder}/a%20store",
    "seaweedfs": lambda request, _: request.getfixturevalue("seaweed_uri"),
    "moto": lambda request, _: request.getfixturevalue("moto_uri"),
}
"""How a test gets the URI of a store that is its own and empty."""
