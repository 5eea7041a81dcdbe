"""The bench of pack starts on small stores: what it counts does not depend on the rows."""

from __future__ import annotations

from pathlib import Path

from grok_sweeps.store import open_objects
from tests.bench import starts


def test_requests_of_a_start_and_of_an_event_are_the_same_at_any_size(tmp_path: Path) -> None:
    small, large = (dict(starts.measure(open_objects(str(tmp_path / str(n))), n)) for n in (100, 1_000))
    assert small.keys() == large.keys()
    for what, most in {"it publishes a pack": 1, "its worker starts": 2}.items():
        assert small[what].requests == large[what].requests == most
    event = "the driver looks what the attempt left"
    assert small[event].requests == large[event].requests == 1
