"""Which pack a free worker takes, and when a pack that keeps losing its worker is given up. Pure.

Tune's own retries are not used. They count every failure of a trial, so enough preemptions end it however far it got,
and a worker that is lost while it changes from one pack to the next is charged twice and ends its trial at once. Here a
pack that was lost is simply a pack that waits again, and what counts is failures in a row without progress.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class PackQueue:
    """Packs by id, in the order in which they are taken.

    Args:
        pack_ids: what is to be trained, the heaviest first.
        max_failures: times in a row that a pack may be lost without progress before it is given up.
    """

    def __init__(self, pack_ids: Sequence[str], max_failures: int) -> None:
        self._waiting = deque(pack_ids)
        self._max_failures = max_failures
        self._under_way: set[str] = set()
        self._failures: dict[str, int] = {}
        self.given_up: dict[str, str] = {}
        """Why packs were given up: what their last attempt said."""

    @property
    def is_over(self) -> bool:
        """Whether no pack waits and none can come back."""
        return not self._waiting and not self._under_way

    def take(self) -> str | None:
        """The next pack, or None while all that is left is under way."""
        if not self._waiting:
            return None
        pack_id = self._waiting.popleft()
        self._under_way.add(pack_id)
        return pack_id

    def done(self, pack_id: str) -> None:
        """A pack's attempt ended by itself."""
        self._under_way.discard(pack_id)

    def lost(self, pack_id: str, why: str, *, progressed: bool) -> bool:
        """A pack's attempt failed; return whether the pack is tried again.

        `why` is what it said, `progressed` whether it had written a row or a newer state.
        """
        self._under_way.discard(pack_id)
        self._failures[pack_id] = 0 if progressed else self._failures.get(pack_id, 0) + 1
        if self._failures[pack_id] > self._max_failures:
            self.given_up[pack_id] = why
            return False
        self._waiting.appendleft(pack_id)  # it is the furthest
        return True

    def close(self) -> None:
        """No pack is taken any more."""
        self._waiting.clear()
