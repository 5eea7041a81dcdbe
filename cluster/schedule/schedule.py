"""Decides what happens to the packs of one stage.

`Schedule.step` takes what has happened and the time, and returns what is to be done. Tune's own retries are not used:
they count every failure of a trial, so enough preemptions end it however far it got. Here a pack whose attempt failed
waits again, and what counts is failures in a row without progress. Progress is a row or a newer state in the store.

- A pack that **lost its worker** (killed, node gone) is tried again as it is, `max_failures` times in a row.
- A pack that **raised** is tried again once, since the machine may be to blame, then in halves. Halves that raise are
  halved again until the run that raises is alone. That run gets the outcome `failed`, and the others are finished.
- A pack that has used up its tries by losing workers is halved too, so that a run that kills its worker is found. Alone
  it is given up without a row, since nothing shows that the run is to blame.
- A pack that has failed without progress avoids that node, if another has room. After `WAIT_FOR_OTHER_NODES_S` without
  a worker it may go anywhere. A node where `FAILURES_OF_A_NODE` packs in a row failed so is avoided by all packs.
- A pack that **stalls** (no step for `stall_after_s`) loses its worker and avoids that node. A worker that starts has a
  limit of its own, `START_S`, which doubles with each failure.
- A pack that was **handed back**, since its node is about to go, has not failed. Nor has one whose worker died before
  it took the pack.
- Where no worker has ever come up after `FAILED_STARTS` tries a worker, all packs are given up: no pack is to blame.
- Where nothing makes progress for `HOPELESS` tries a worker and a retry, all packs are given up: no run is to blame.
- Once a stop is asked for, nothing starts. The attempts at work get `STATES_WAIT_S` to write their states.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from grok_sweeps.cluster.schedule.attempt import Attempt, Queued
from grok_sweeps.cluster.schedule.events import (
    Action,
    Ended,
    EndWorker,
    Event,
    Failed,
    FailureKind,
    FailureReported,
    Reported,
    Room,
    RoomChanged,
    Say,
    Start,
    StopAsked,
    StoreFailed,
    TellWorkersToStop,
    TrialWanted,
    WorkerReady,
)
from grok_sweeps.cluster.stopping import STATES_WAIT_S
from grok_sweeps.plan.packs import Pack, pack_of
from grok_sweeps.plan.plan import PlannedRun

HOPELESS = 5
FAILED_STARTS = 2
FAILURES_OF_A_NODE = 3
START_S = 120.0
"""Time from a worker's first sign to its first step, at least."""
MOST_DOUBLINGS = 6
WAIT_FOR_OTHER_NODES_S = 60.0
NOTHING_BEGINS_S = 30.0
"""Packs wait for a worker for so long, while none trains, until that is said."""
DEAF_S = 5.0
"""A longer time between two steps, in which the driver was stopped or waited for the store, counts for no attempt."""
CHECK_EVERY_S = 0.25
"""Time between two looks at the clocks of all attempts."""

Cut = Callable[[Sequence[PlannedRun], int], Sequence[Pack]]
"""Cuts runs into packs for so many workers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Failures in a row that a pack may have, and seconds without a step after which it has stalled."""

    max_failures: int
    stall_after_s: float = 300.0


class Schedule:
    """The packs of a stage, from the queue to their end.

    Args:
        packs: what is to be trained, the heaviest first.
        limits: see above; with `max_failures` 0 nothing is tried again as it is.
        room: where they can train.
        cut: makes packs of waiting runs again when room grows.
    """

    def __init__(self, packs: Sequence[Pack], limits: Limits, room: Room, cut: Cut = lambda *_: ()) -> None:
        self._queue = deque(Queued(pack) for pack in packs)
        self._limits, self._cut, self.room = limits, cut, room
        self._attempts: dict[int, Attempt] = {}
        self._numbers = count(1)
        self._given_up_waiting: set[int] = set()
        """Attempts that found no room on other nodes: their packs wait again."""
        self._closed = False
        self._stop_by: float | None = None
        self._waits_for: frozenset[int] = frozenset()
        self._without_progress = 0
        self._failed_on: dict[str, set[str]] = {}
        """The packs, before they were halved, that failed in a row on each node."""
        self._failed_starts = 0
        self._a_worker_came_up = False
        self._idle_since: float | None = None
        self._checked_at = float("-inf")
        self._losses: Counter[str] = Counter()
        self._now = 0.0
        self._last_step: float | None = None
        self._deaf_s = 0.0
        self._actions: list[Action] = []
        self.packs = {"pending": len(packs), "running": 0, "done": 0, "failed": 0}
        """How many packs there are of each kind."""
        self.run_steps = self.idle_lane_steps = self.run_steps_under_way = self.lanes_active = 0
        self.worker_losses = 0
        self.given_up: list[str] = []
        """Why packs were given up, one line each."""
        self.errors: list[str] = []
        """Why no pack at all can go on, one line each."""

    def step(self, events: Iterable[Event], now: float) -> list[Action]:
        """Take in what has happened by `now`, in monotonic seconds; return what is to be done, in order."""
        if self._last_step is not None and now - self._last_step > DEAF_S:
            self._deaf_s += now - self._last_step
        self._last_step = now
        self._now, self._actions = now - self._deaf_s, []
        for event in events:
            self._take_in(event)
        if self._now - self._checked_at >= CHECK_EVERY_S:
            self._checked_at = self._now
            self._end_stalled()
            self._release_waiting()
            self._say_if_nothing_begins()
        return self._actions

    def wants_no_more(self) -> bool:
        """Whether no attempt will be started any more."""
        return self._closed or not (self._queue or self._attempts)

    def is_over(self, now: float) -> bool:
        """Whether nothing is left to wait for."""
        if self._stop_by is not None:
            return now - self._deaf_s >= self._stop_by or self._waits_for.isdisjoint(self._attempts)
        return self.wants_no_more() and not self.packs["running"]

    def cause_is_unknown(self, number: int) -> bool:
        """Whether nothing tells why this attempt would be over now."""
        attempt = self._attempts.get(number)
        told = attempt and (attempt.failure or attempt.ended_for or attempt.preempted or attempt.files_written)
        return attempt is not None and not told

    def _take_in(self, event: Event) -> None:
        match event:
            case TrialWanted():
                self._start_next()
            case RoomChanged(room):
                self._change_room(room)
            case WorkerReady(number):
                self._worker_ready(number)
            case Reported():
                self._reported(event)
            case FailureReported(number):
                if number in self._attempts:
                    self._attempts[number].failure = event
            case Ended(number, stopped):
                self._ended(number, stopped=stopped)
            case Failed():
                self._failed(event)
            case StoreFailed(why):
                self._give_up_sweep(why)
            case StopAsked():
                self._stop()

    def _start_next(self) -> None:
        if self._closed or not self._queue or len(self._attempts) >= self.room.most_in_flight:
            return
        queued = self._queue.popleft()
        is_last = len(queued.pack.runs) == 1 and queued.raised >= self._raises_allowed(queued)
        avoid = queued.failed_on | {node for node, packs in self._failed_on.items() if len(packs) >= FAILURES_OF_A_NODE}
        if queued.ignores_avoided_nodes or not self.room.beside(avoid):
            avoid = frozenset()
        avoid |= self.room.unusable
        attempt = Attempt(next(self._numbers), queued, is_last, avoid, asked_at=self._now)
        self._attempts[attempt.number] = attempt
        self._do(Start(attempt.number, queued.pack, is_last, avoid))

    def _change_room(self, room: Room) -> None:
        before, self.room = self.room, room
        if room.workers != before.workers:
            waits = "; waiting for nodes" if not room.workers else ""
            self._do(Say(f"room for {room.workers} packs at once, {before.workers} before{waits}"))
        if room.workers > before.workers:
            self._cut_again()

    def _cut_again(self) -> None:
        """Make more, smaller packs of those that wait and have not failed."""
        fresh = [queued for queued in self._queue if queued == Queued(queued.pack)]
        packs = self._cut([run for queued in fresh for run in queued.pack.runs], self.room.workers) if fresh else ()
        if len(packs) > len(fresh):
            failed = [queued for queued in self._queue if queued != Queued(queued.pack)]
            self._queue = deque([*failed, *map(Queued, packs)])
            self.packs["pending"] += len(packs) - len(fresh)

    def _worker_ready(self, number: int) -> None:
        if number in self._given_up_waiting:
            self._do(EndWorker(number))
            return
        attempt = self._attempts.get(number)
        if attempt is None or attempt.ready_at is not None:
            return
        attempt.ready_at = self._now
        self._a_worker_came_up = True
        self._failed_starts = 0
        self.packs["pending"] -= 1
        self.packs["running"] += 1

    def _reported(self, report: Reported) -> None:
        attempt = self._attempts.get(report.attempt)
        if attempt is None:
            return
        before = attempt.report or Reported(report.attempt, None, 0)
        attempt.report = report
        self.run_steps += report.run_steps - before.run_steps
        self.idle_lane_steps += report.idle_lane_steps - before.idle_lane_steps
        self._count_lanes(before, -1)
        self._count_lanes(report, 1)
        if report.run_steps > before.run_steps:
            attempt.stepped_at = self._now
        if report.files_written > before.files_written:
            self._made_progress(report.node)

    def _count_lanes(self, report: Reported, sign: int) -> None:
        self.run_steps_under_way += sign * report.run_steps_under_way
        self.lanes_active += sign * report.lanes_active

    def _made_progress(self, node: str | None) -> None:
        self._without_progress = self._failed_starts = 0
        self._failed_on.pop(node or "", None)

    def _ended(self, number: int, *, stopped: bool) -> None:
        attempt = self._over(number)
        if attempt is None:
            return
        self._made_progress(attempt.node)
        if stopped:
            self._requeue(attempt.queued)
        else:
            self.packs["done"] += 1

    def _over(self, number: int) -> Attempt | None:
        """Take an attempt out; None where it had given up waiting before."""
        self._given_up_waiting.discard(number)
        attempt = self._attempts.pop(number, None)
        if attempt is None:
            return None
        self.packs["pending" if attempt.ready_at is None else "running"] -= 1
        if attempt.report is not None:
            self._count_lanes(attempt.report, -1)
        return attempt

    def _failed(self, event: Failed) -> None:
        attempt = self._over(event.attempt)
        if attempt is None:
            return
        if attempt.preempted:
            said = "left its node, which is about to go"
            after = self._what_next(attempt.queued, event.left, "", enough=False)
        elif attempt.failure is not None and attempt.failure.kind is FailureKind.RAISED:
            said = f"raised {attempt.failure.why}"
            after = self._after_exception(attempt, event, attempt.failure.why)
        else:
            said, why = self._why_lost(attempt, event)
            after = self._after_loss(attempt, event, why)
        self._do(Say(f"pack {attempt.queued.pack.pack_id} {said}{after}"))

    def _why_lost(self, attempt: Attempt, event: Failed) -> tuple[str, str]:
        """What is said of an attempt that lost its worker, and why it did."""
        if attempt.failure is not None:
            why, node = attempt.failure.why, attempt.failure.node
            if not self.room.beside({node or ""}):
                self._give_up_sweep(why)
            return f"cannot train on its node: {why}", why
        if attempt.ended_for is not None:
            return f"made {attempt.ended_for}", attempt.ended_for
        self.worker_losses += 1
        pack_id = attempt.queued.pack.pack_id
        self._losses[pack_id] += 1
        times = f" ({self._losses[pack_id]} times by now)" if self._losses[pack_id] > 1 else ""
        said = f", which said: {event.words}" if event.words else ""
        why = event.words or ("it did not start" if attempt.ready_at is None else "no reason is known")
        return f"lost its worker{times}{said}", why

    def _after_exception(self, attempt: Attempt, event: Failed, why: str) -> str:
        queued = self._count_failure(attempt, attempt.node)
        queued = replace(queued, raised=0 if attempt.files_written else queued.raised + 1)
        enough = queued.raised > self._raises_allowed(queued)
        return self._what_next(replace(queued, suspect=queued.suspect or enough), event.left, why, enough=enough)

    def _after_loss(self, attempt: Attempt, event: Failed, why: str) -> str:
        node = attempt.node or event.node
        queued = self._count_failure(attempt, node)
        if attempt.ended_for is not None and node is not None:  # whatever it wrote before
            queued = replace(queued, failed_on=queued.failed_on | {node})
        if attempt.ready_at is None:  # the pack has no part in it
            why = f"its worker died before its first step: {why}"
            # One that was killed says nothing, and is no sign of what the next does.
            self._failed_starts += event.words is not None
            return self._what_next(queued, event.left, why, enough=False)
        queued = replace(queued, lost=0 if attempt.files_written else queued.lost + 1)
        why = f"its worker was lost {queued.lost} times in a row without progress: {why}"
        return self._what_next(queued, event.left, why, enough=queued.lost > self._limits.max_failures)

    def _raises_allowed(self, queued: Queued) -> int:
        return 0 if queued.suspect else min(1, self._limits.max_failures)

    def _count_failure(self, attempt: Attempt, node: str | None) -> Queued:
        """Count an attempt that failed, unless it made progress."""
        queued = replace(attempt.queued, ignores_avoided_nodes=False)
        if attempt.files_written:
            self._made_progress(node)
            return queued
        self._without_progress += 1
        if node is None:
            return queued
        self._failed_on.setdefault(node, set()).add(queued.halved_from or queued.pack.pack_id)
        return replace(queued, failed_on=queued.failed_on | {node})

    def _what_next(self, queued: Queued, left: frozenset[str] | None, why: str, *, enough: bool) -> str:
        """Queue what is left of a pack whose attempt is over; return what is said of it."""
        runs = [run for run in queued.pack.runs if left is None or run.run_id in left]
        if not runs:
            self.packs["done"] += 1
            return "; each of its runs has its row"
        if self._closed:
            self._requeue(queued)
            return ""
        if hopeless := self._hopeless(why):
            self._closed = True
        if hopeless or (enough and len(runs) == 1):
            self.packs["failed"] += 1
            self.given_up.append(hopeless or why)
            return "; it is given up"
        if enough:
            middle = len(runs) // 2
            for half in (runs[middle:], runs[:middle]):
                pack = pack_of(half, queued.pack.lanes)
                whole = queued.halved_from or queued.pack.pack_id
                self._requeue(Queued(pack, suspect=queued.suspect, failed_on=queued.failed_on, halved_from=whole))
            return "; its halves are tried by themselves"
        if len(runs) == 1 < len(queued.pack.runs):
            queued = replace(queued, pack=pack_of(runs, queued.pack.lanes))
        self._requeue(queued)
        return "; it starts again from its newest state"

    def _hopeless(self, why: str) -> str | None:
        """Why no further try makes sense, or None."""
        if not self._a_worker_came_up and self._failed_starts >= FAILED_STARTS * self._workers:
            return f"no worker comes up, {self._failed_starts} were tried; {why}"
        if self._without_progress >= HOPELESS * self._workers * (self._limits.max_failures + 1):
            return f"no pack made progress in {self._without_progress} attempts in a row, the last because {why}"
        return None

    @property
    def _workers(self) -> int:
        return max(1, self.room.workers)

    def _requeue(self, queued: Queued) -> None:
        self._queue.appendleft(queued)
        self.packs["pending"] += 1

    def _give_up_sweep(self, why: str) -> None:
        self.errors.append(why)
        self._stop()

    def _stop(self) -> None:
        if self._stop_by is not None:
            return
        self._closed = True
        self._waits_for = frozenset(n for n, attempt in self._attempts.items() if attempt.ready_at is not None)
        self._stop_by = self._now + STATES_WAIT_S
        self._do(TellWorkersToStop())

    def _end_stalled(self) -> None:
        if self._stop_by is not None:  # they write their states
            return
        for attempt in self._attempts.values():
            if attempt.ready_at is None:
                continue
            limit = self._limits.stall_after_s
            since, what = attempt.stepped_at, "step"
            if since is None:
                since, what = attempt.ready_at, "first step"
                limit = max(START_S, limit) * 2 ** min(attempt.queued.lost, MOST_DOUBLINGS)
            if self._now - max(since, attempt.ended_at or since) > limit:
                attempt.ended_for, attempt.ended_at = f"no {what} in {limit:g} s", self._now
                self._do(EndWorker(attempt.number))

    def _release_waiting(self) -> None:
        """Let packs that wait for other nodes in vain go anywhere."""
        for attempt in list(self._attempts.values()):
            waits = attempt.ready_at is None and attempt.avoid - self.room.unusable
            if waits and self._now - attempt.asked_at > WAIT_FOR_OTHER_NODES_S:
                self._over(attempt.number)
                self._given_up_waiting.add(attempt.number)
                self._requeue(replace(attempt.queued, failed_on=frozenset(), ignores_avoided_nodes=True))

    def _say_if_nothing_begins(self) -> None:
        if self.packs["running"] or not self._attempts or not self.room.workers:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._now
        elif self._now - self._idle_since > NOTHING_BEGINS_S:
            self._idle_since = self._now
            self._do(
                Say(
                    f"no pack has begun in {NOTHING_BEGINS_S:g} s: others hold what the nodes have, or workers are "
                    "slow to start"
                )
            )

    def _do(self, action: Action) -> None:
        self._actions.append(action)
