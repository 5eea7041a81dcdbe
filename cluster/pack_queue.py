"""Which pack a free worker takes, and what becomes of a pack whose attempt has failed. Pure.

Tune's own retries are not used. They count every failure of a trial, so enough preemptions end it however far it got,
and a worker that is lost while it changes from one pack to the next is charged twice and ends its trial at once. Here a
pack that failed is simply a pack that waits again, and what counts is failures in a row without progress, which is a
row or a newer state written.

- A pack that **lost its worker** (killed, node gone) is tried again as it is, `max_failures` times in a row.
- A pack that **raised** is tried again once, since the fault may have been the machine's, then in halves, and halves
  that raise are halved again until the run that raises is alone: it ends as `failed`, and the others are finished.
- A pack that has used up its tries by losing workers is halved too, so that a run that kills its worker is found; alone
  it is given up without a row, since nothing shows that it is to blame.
- Where workers die of themselves while they come up, twice a worker in a row, every pack is given up: the packs have no
  part in it.
- Where nothing at all gets on for many attempts, every pack is given up: it is not the runs.
- A pack that has failed without progress is tried on another node next, if there is one with room for it; a node where
  `BAD_NODE` attempts in a row have failed so is avoided by all packs.
- A pack that was **handed back**, since its node is about to go, has not failed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from grok_sweeps.plan.packs import Pack, pack_of
from grok_sweeps.plan.plan import PlannedRun

HOPELESS = 5
"""Attempts in a row without progress of any pack after which all are given up, a worker and a try."""

STARTS = 2
"""Failed starts in a row, per worker, after which all packs are given up, where no worker has ever come up."""

BAD_NODE = 3


class Next(Enum):
    """What becomes of a pack after an attempt that failed."""

    AGAIN = "it is tried again"
    HALVES = "its two halves are tried"
    OVER = "every run of it has its row, that of a run that failed included"
    GIVEN_UP = "it is given up"
    LEFT = "it is left for the next time, since the queue is closed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A pack to be tried, with its failures in a row without progress.

    A `suspect` is part of a pack that raised twice. `is_last` says that it is one run, which fails if it raises now.
    `avoid` are the nodes on which it failed without progress.
    """

    pack: Pack
    lost: int = 0
    raised: int = 0
    suspect: bool = False
    is_last: bool = False
    avoid: frozenset[str] = frozenset()


class PackQueue:
    """Packs in the order in which workers take them.

    Args:
        packs: what is to be trained, the heaviest first.
        max_failures: see above; with 0 nothing is tried again as it is.
        workers: how many take packs at once; may change.
    """

    def __init__(self, packs: Sequence[Pack], max_failures: int, workers: int = 1) -> None:
        self._waiting = deque(Attempt(pack) for pack in packs)
        self._under_way: dict[str, Attempt] = {}
        self._max_failures = max_failures
        self.workers = workers
        self._fruitless = 0
        self._not_up = 0
        self._came_up = False
        self._fruitless_on: Counter[str] = Counter()
        self._closed = False
        self.given_up: list[str] = []
        """Why packs were given up."""

    @property
    def is_over(self) -> bool:
        """Whether no pack waits and none can come back."""
        return not self._waiting and (self._closed or not self._under_way)

    @property
    def taken(self) -> int:
        """How many packs are taken and have not ended."""
        return len(self._under_way)

    def pack(self, pack_id: str) -> Pack:
        """A pack that is taken."""
        return self._under_way[pack_id].pack

    def take(self) -> Attempt | None:
        """The next attempt, or None where none waits now."""
        if not self._waiting:
            return None
        attempt = self._waiting.popleft()
        alone = len(attempt.pack.runs) == 1
        bad = {node for node, n in self._fruitless_on.items() if n >= BAD_NODE}
        is_last = alone and attempt.raised >= self._raises_allowed(attempt)
        attempt = replace(attempt, is_last=is_last, avoid=attempt.avoid | bad)
        self._under_way[attempt.pack.pack_id] = attempt
        return attempt

    def recut(self, cut: Callable[[Sequence[PlannedRun]], Sequence[Pack]]) -> int:
        """Have other packs of the runs that wait and have not failed; return how many packs there are more."""
        fresh = [attempt for attempt in self._waiting if attempt == Attempt(attempt.pack)]
        packs = cut([run for attempt in fresh for run in attempt.pack.runs]) if fresh else ()
        if len(packs) <= len(fresh):
            return 0
        self._waiting = deque(a for a in self._waiting if a not in fresh)
        self._waiting.extend(Attempt(pack) for pack in packs)
        return len(packs) - len(fresh)

    def began(self) -> None:
        """A worker came up."""
        self._not_up = 0
        self._came_up = True

    def got_on(self, node: str | None) -> None:
        """An attempt on this node has written a row or a newer state."""
        self._fruitless = 0
        self._not_up = 0
        self._fruitless_on.pop(node or "", None)

    def abandoned(self, pack_id: str) -> None:
        """An attempt that avoids nodes found no room elsewhere: the pack waits again, for any node."""
        self._waiting.appendleft(replace(self._under_way.pop(pack_id), avoid=frozenset()))

    def close(self) -> None:
        """Let nothing be taken any more."""
        self._waiting.clear()
        self._closed = True

    def ended(self, pack_id: str, node: str | None = None) -> None:
        """An attempt ended by itself, on this node."""
        del self._under_way[pack_id]
        self.got_on(node)

    def handed_back(self, pack_id: str, left: Collection[str] | None) -> Next:
        """An attempt left its node, with its states written; `left` is that of `lost`."""
        return self._next(self._under_way.pop(pack_id), "", left, enough=False)

    def lost(
        self,
        pack_id: str,
        why: str,
        left: Collection[str] | None,
        *,
        progressed: bool,
        node: str | None = None,
        stalled: bool = False,
        came_up: bool = True,
    ) -> Next:
        """An attempt lost its worker.

        Args:
            pack_id: its pack.
            why: what was said, in one line.
            left: run_ids that are still to do, or None where that is not known.
            progressed: whether it wrote a row or a newer state.
            node: id of the node where it was, if known.
            stalled: whether it stood still there; it is tried on another whatever it wrote before.
            came_up: False where the worker died of itself before it could take the pack.
        """
        self._not_up += not came_up
        attempt = self._failed(pack_id, progressed, node)
        if stalled and node is not None:
            attempt = replace(attempt, avoid=attempt.avoid | {node})
        attempt = replace(attempt, lost=0 if progressed else attempt.lost + 1)
        if came_up:
            why = f"its worker was lost {attempt.lost} times in a row without progress: {why}"
        else:
            why = f"its worker died before its first step: {why}"
        return self._next(attempt, why, left, enough=attempt.lost > self._max_failures)

    def raised(
        self, pack_id: str, why: str, left: Collection[str] | None, *, progressed: bool, node: str | None = None
    ) -> Next:
        """An attempt raised an exception; the arguments are those of `lost`."""
        attempt = self._failed(pack_id, progressed, node)
        attempt = replace(attempt, raised=0 if progressed else attempt.raised + 1)
        enough = attempt.raised > self._raises_allowed(attempt)
        return self._next(replace(attempt, suspect=attempt.suspect or enough), why, left, enough=enough)

    def _raises_allowed(self, attempt: Attempt) -> int:
        return 0 if attempt.suspect else min(1, self._max_failures)

    def _failed(self, pack_id: str, progressed: bool, node: str | None) -> Attempt:
        attempt = self._under_way.pop(pack_id)
        if progressed:
            self.got_on(node)
            return attempt
        self._fruitless += 1
        if node is None:
            return attempt
        self._fruitless_on[node] += 1
        return replace(attempt, avoid=attempt.avoid | {node})

    def _next(self, attempt: Attempt, why: str, left: Collection[str] | None, *, enough: bool) -> Next:
        runs = [run for run in attempt.pack.runs if left is None or run.run_id in left]
        if not runs:
            return Next.OVER
        if self._closed:
            return Next.LEFT
        no_worker = not self._came_up and self._not_up >= STARTS * self.workers
        hopeless = no_worker or self._fruitless >= HOPELESS * self.workers * (self._max_failures + 1)
        if no_worker:
            why = f"no worker comes up, {self._not_up} were tried; {why}"
        elif hopeless:
            why = f"no pack got on in {self._fruitless} attempts in a row, the last because {why}"
        if hopeless:
            self.close()
        if hopeless or (enough and len(runs) == 1):
            self.given_up.append(why)
            return Next.GIVEN_UP
        if enough:
            middle = len(runs) // 2
            for half in (runs[middle:], runs[:middle]):
                pack = pack_of(half, attempt.pack.lanes)
                self._waiting.appendleft(Attempt(pack, suspect=attempt.suspect, avoid=attempt.avoid))
            return Next.HALVES
        alone = len(runs) == 1 and len(attempt.pack.runs) > 1
        self._waiting.appendleft(replace(attempt, pack=pack_of(runs, attempt.pack.lanes) if alone else attempt.pack))
        return Next.AGAIN
