"""Which packs under way no longer get on, judged by their steps: a process that is alive proves nothing. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stalls:
    """Knows when each trial last got on.

    Args:
        after_s: seconds without a step after which a trial has stalled.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(self, after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.after_s = after_s
        self._clock = clock
        self._last: dict[str, tuple[int, float]] = {}

    def began(self, trial_id: str) -> None:
        """A trial began; what it needs to get ready counts."""
        self._last[trial_id] = (-1, self._clock())

    def reported(self, trial_id: str, run_steps: int) -> None:
        """A trial has reported how many steps it has done."""
        before, _ = self._last.get(trial_id, (-1, 0.0))
        if run_steps > before:
            self._last[trial_id] = (run_steps, self._clock())

    def ended(self, trial_id: str) -> None:
        """A trial is over."""
        self._last.pop(trial_id, None)

    def stalled(self) -> list[str]:
        """The trials that have stalled; each is told once, and again when as much time has passed."""
        now = self._clock()
        found = [trial_id for trial_id, (_, at) in self._last.items() if now - at > self.after_s]
        for trial_id in found:
            self._last[trial_id] = (self._last[trial_id][0], now)
        return found
