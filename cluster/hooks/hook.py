"""What a hook is: one tool of the user's that is told how a sweep goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from grok_sweeps.progress import Progress

MOST_CHARACTERS = 400
"""Of what a tool has to say about its failure."""

Tell = Callable[[str], None]
"""Says in one line what happened, as an event of the sweep."""


@dataclass(frozen=True, slots=True)
class Begin:
    """What a driver finds: the sweep, its store, and how many of its runs had failed before."""

    sweep: str
    store: str
    failed_before: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a driver ended: `state` is finished, interrupted or failed, `errors` say why, one line each.

    `seconds` is how long it took, `idle` whether there was nothing to do.
    """

    state: str
    progress: Progress
    errors: tuple[str, ...]
    seconds: float
    idle: bool


class Hook(Protocol):
    """One tool. It is called from a thread of its own, and what it raises is told once and costs the sweep nothing."""

    def progress(self, progress: Progress) -> None:
        """Hear how the sweep stands; of several since the last call only the newest comes."""

    def ended(self, ending: Ending) -> None:
        """Hear how it ended, and close. The last call."""

    def abandon(self) -> None:
        """Let go at once of what `ended` still waits for; called from another thread."""
