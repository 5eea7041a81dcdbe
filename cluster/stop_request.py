"""Asks every worker of a driver to stop, wherever it runs, so that each writes its lanes' states by itself.

Tune has no message to a trial that trains, and a worker that it stops is killed after ten seconds: too soon for a large
pack and a slow store. The request is the bare existence of a named actor: workers look for the name once a second
(a third of a millisecond), and there is no process for it until somebody stops the sweep.
"""

from __future__ import annotations

import ray


class _Request:
    """Has nothing to do but exist."""


class StopRequest:
    """A request under a name that the driver's workers know."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._actor: object | None = None

    def make(self) -> None:
        """Make the request; again is nothing."""
        if self._actor is None:
            self._actor = ray.remote(num_cpus=0)(_Request).options(name=self.name).remote()


def is_requested(name: str) -> bool:
    """Whether the request of this name was made."""
    try:
        ray.get_actor(name)
    except ValueError:
        return False
    return True
