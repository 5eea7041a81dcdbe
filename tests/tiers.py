"""Which tests are of the second tier alone, and which of them start Ray.

Decided by what a test asks for and where it lies. Markers at a test overrule it: `quick` and `slow` the tier, and `ray`
says that a test elsewhere starts Ray in a way of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RAY_FOLDERS = ("cluster",)
RAY_FIXTURES = {"sweeping", "ray_cluster", "nodes", "site"}
"""A sweep in the background, which is there to be killed or stopped, and clusters of several nodes."""


def starts_ray(item: pytest.Item) -> bool:
    """Whether it starts Ray, or lies where the tests do that start it."""
    folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    return folder in RAY_FOLDERS or _asks_for(item, RAY_FIXTURES) or item.get_closest_marker("ray") is not None


def is_slow(item: pytest.Item) -> bool:
    """Whether `make test` leaves it to `make test-all`."""
    return _asks_for(item, RAY_FIXTURES) and item.get_closest_marker("quick") is None


def _asks_for(item: pytest.Item, fixtures: set[str]) -> bool:
    return not fixtures.isdisjoint(getattr(item, "fixturenames", ()))
