"""Watches a sweep from the driver: reads new rows, writes the heartbeat, feeds a view, sees requests to stop.

It runs in a thread of its own, so that the heartbeat does not depend on Tune's event loop. A heartbeat that cannot be
written is said, not raised: the rows decide.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Protocol

from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.finished_cells import describe_cell
from grok_sweeps.cluster.journal import Journal
from grok_sweeps.cluster.schedule import Schedule
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.errors import LeaseLostError, StoreError
from grok_sweeps.plan import Plan
from grok_sweeps.plan.finished_runs import FinishedCell, FinishedRuns
from grok_sweeps.progress import HEARTBEAT_S, Progress, ended_without_a_word, measure_progress
from grok_sweeps.store import SweepStore
from grok_sweeps.store.lease import Lease
from grok_sweeps.store.rows import PROGRESS_COLUMNS, NewRows, RowLog
from grok_sweeps.train.failed import one_line

REFRESH_S = 0.5
REFRESH_SHARE = 9
"""Time between two refreshes, at least, in the time that one takes."""
RATE_WINDOW_S = 15.0


class View(Protocol):
    """Shows progress to a person."""

    def update(self, progress: Progress) -> None:
        """Show the sweep as it is now."""

    def event(self, text: str) -> None:
        """Show something that happened."""


class Monitor:
    """The driver's picture of a sweep under way.

    Args:
        store: the sweep's objects.
        plan: its runs.
        journal: what is said.
        view: shows progress.
        hours: the devices that packs hold, and the budget.
        stopped: asked to stop when the budget is spent or the store holds a request.
        extend_to: the longer budget of censored runs, if any.
        lease: of this driver; once it is another's, nothing is written any more.
    """

    def __init__(
        self,
        store: SweepStore,
        plan: Plan,
        journal: Journal,
        view: View,
        hours: DeviceHours,
        stopped: StopOnSignal,
        extend_to: int | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._store, self._journal, self._view = store, journal, view
        self._hours, self._stopped, self._extend_to, self._lease = hours, stopped, extend_to, lease
        self.log = RowLog(store, PROGRESS_COLUMNS)
        self._new_rows = NewRows(self.log)
        self._finished = FinishedRuns(plan)
        self._counting = threading.Lock()
        self._schedules: list[Schedule] = []
        self._rate_window: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._state = "running"
        self._reason: str | None = None
        self._started_at = datetime.now(UTC)
        self._last_heartbeat = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="monitor", daemon=True)

    def start(self) -> None:
        """Read what is there and begin to watch."""
        before = self._store.load_status()
        self._hours.go_on_from(before)
        self.log.refresh()
        self._count()  # their cells were said by the driver that trained them
        if silence := ended_without_a_word(before):
            self._journal.say(f"the last driver {silence}")
        self._thread.start()

    def begin_stage(self, schedule: Schedule) -> None:
        """Watch the packs of another stage."""
        self._schedules.append(schedule)

    def catch_up(self) -> None:
        """Read the rows that are new, and tell which cells they complete.

        Raises:
            StoreError: the store cannot be read.
        """
        self.log.refresh()
        for cell in self._count():
            self._journal.say(describe_cell(cell.config, cell.rows))

    def _count(self) -> list[FinishedCell]:
        """Count the rows that are new; return the cells that they complete."""
        with self._counting:
            return self._finished.add(self._new_rows.take())

    def check_budget(self) -> None:
        """Ask for a stop if the budget of device-hours is spent."""
        if over := self._hours.over():
            self._ask_to_stop(over)

    def _ask_to_stop(self, reason: str) -> None:
        if not self._stopped.is_set():
            self._journal.say(f"stopping: {reason}")
            self._stopped.ask(reason)

    def finish(self, state: str, reason: str | None = None) -> Progress:
        """Stop watching, write the last heartbeat with `state`, and why, and return the final progress."""
        self._stop.set()
        self._thread.join()
        self._state, self._reason = state, self._stopped.reason or reason
        if self._lease is not None:
            with contextlib.suppress(StoreError, LeaseLostError):
                self._lease.renew()  # the store may have been away until now
        return self._refresh(force=True)

    def _loop(self) -> None:
        wait = REFRESH_S
        while not self._stop.wait(wait):
            began = time.monotonic()
            try:
                self._refresh()
            except Exception as error:  # a thread that ended would say nothing, and the heartbeat with it
                with contextlib.suppress(Exception):  # it may be the view that fails
                    self._journal.say(f"watching failed and goes on: {one_line(error)}")
            wait = max(REFRESH_S, REFRESH_SHARE * (time.monotonic() - began))  # a large sweep takes longer to sum up

    def _refresh(self, *, force: bool = False) -> Progress:
        self.check_budget()
        if self._lease is not None and self._lease.lost.is_set():
            self._ask_to_stop("another driver has taken over the sweep")
        try:
            self.catch_up()
        except StoreError as error:
            self._journal.say(str(error))
        status = self._status()
        if force or time.monotonic() - self._last_heartbeat >= HEARTBEAT_S:
            self._last_heartbeat = time.monotonic()
            self._beat(status)
        with self._counting:
            progress = measure_progress(self._store.sweep, self._finished, status)
        self._view.update(progress)
        return progress

    def _beat(self, status: dict[str, Any]) -> None:
        """Write the heartbeat and the journal, and look for a request to stop."""
        if self._lease is not None and not self._lease.holds:
            return  # there is one writer
        try:
            self._store.put_status(status)
            self._journal.write()
            reason = self._store.asked_to_stop(self._journal.driver["id"])
        except StoreError as error:
            self._journal.say(str(error))
            return
        if reason is not None:
            self._ask_to_stop(reason)

    def _status(self) -> dict[str, Any]:
        now = self._schedules[-1] if self._schedules else None
        run_steps = sum(schedule.run_steps for schedule in self._schedules)
        idle_steps = sum(schedule.idle_lane_steps for schedule in self._schedules)
        return {
            "sweep": self._store.sweep,
            "state": self._state,
            "driver": self._journal.driver,
            "fence": self._lease.fence if self._lease else None,
            "workers": now.room.workers if now else None,
            "started_at": self._started_at.isoformat(),
            "heartbeat_at": datetime.now(UTC).isoformat(),
            "packs": dict(now.packs) if now else {"pending": 0, "running": 0, "done": 0, "failed": 0},
            "steps_per_s": self._rate(run_steps),
            "lanes_active": now.lanes_active if now else 0,
            "run_steps_under_way": now.run_steps_under_way if now else 0,
            "events": self._journal.recent(),
            "idle_share": idle_steps / (run_steps + idle_steps) if run_steps + idle_steps else None,
            "extend_to": self._extend_to,
            "reason": self._reason if self._state in ("interrupted", "failed") else None,
            **self._hours.to_status(),
            "worker_losses": sum(schedule.worker_losses for schedule in self._schedules),
        }

    def _rate(self, run_steps: int) -> float:
        """Run-steps a second over the last `RATE_WINDOW_S`."""
        window, now = self._rate_window, time.monotonic()
        window.append((now, run_steps))
        while len(window) > 1 and now - window[0][0] > RATE_WINDOW_S:
            window.popleft()
        elapsed = now - window[0][0]
        return (run_steps - window[0][1]) / elapsed if elapsed > 0 else 0.0
