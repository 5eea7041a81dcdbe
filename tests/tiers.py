"""Which tests are of the second tier alone, and which of them start Ray.

The tier is decided by what a test asks for; the markers `quick` and `slow` overrule it. `ray` says that a test starts
Ray in a way of its own. Those that start Ray lie in `RAY_PLACES`.
"""

from __future__ import annotations

import pytest

RAY_PLACES = ("tests/cluster/", "tests/bench/test_bench_scheduling.py", "tests/faults/test_campaign.py")
"""Where the tests lie that start Ray: they run one after another, in one of the processes."""
RAY_FIXTURES = {"sweeping", "ray_cluster", "nodes", "site"}
"""A sweep in the background, which is there to be killed or stopped, and clusters of several nodes."""


def runs_alone(nodeid: str) -> bool:
    """Whether a test lies where tests start Ray."""
    return nodeid.startswith(RAY_PLACES)


def starts_ray(item: pytest.Item) -> bool:
    """Whether a test asks for a Ray, or says that it starts one."""
    return _asks_for(item, RAY_FIXTURES) or item.get_closest_marker("ray") is not None


def is_slow(item: pytest.Item) -> bool:
    """Whether `make test` leaves it to `make test-all`."""
    return _asks_for(item, RAY_FIXTURES) and item.get_closest_marker("quick") is None


def _asks_for(item: pytest.Item, fixtures: set[str]) -> bool:
    return not fixtures.isdisjoint(getattr(item, "fixturenames", ()))
