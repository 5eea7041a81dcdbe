"""Watches a sweep from the driver: reads new rows, collects the trials' summaries, writes the heartbeat, feeds a view.

It runs in a thread of its own, so that the heartbeat does not depend on Tune's event loop. A heartbeat that cannot be
written is an event, not an error: the rows decide.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.driver_log import DriverLog, driver_identity
from grok_sweeps.config import RunConfig
from grok_sweeps.errors import StoreError
from grok_sweeps.plan import Plan
from grok_sweeps.plan.forecast import Forecast
from grok_sweeps.progress import HEARTBEAT_S, Progress, ended_without_a_word, measure_progress
from grok_sweeps.store import SweepStore
from grok_sweeps.store.rows import PROGRESS_COLUMNS, RowLog
from grok_sweeps.train.failed import one_line

REFRESH_S = 0.5
REFRESH_SHARE = 9
"""Time between two refreshes, at least, in the time that one takes."""
KEPT_EVENTS = 8
RATE_WINDOW_S = 15.0


class View(Protocol):
    """Shows progress to a person."""

    def update(self, progress: Progress) -> None:
        """Show the sweep as it is now."""

    def event(self, text: str) -> None:
        """Show something that happened."""


class Monitor:
    """The driver's picture of a sweep under way.

    `hours` counts the devices that its packs hold; `submission_id` is the driver's Ray job, if it is one.
    """

    def __init__(
        self,
        store: SweepStore,
        plan: Plan,
        view: View,
        extend_to: int | None = None,
        hours: DeviceHours | None = None,
        *,
        submission_id: str | None = None,
    ) -> None:
        self._driver = driver_identity(submission_id)
        self._driver_log = DriverLog(store, self._driver)
        self._store, self._plan, self._view, self._extend_to = store, plan, view, extend_to
        self._hours = hours or DeviceHours({})
        self._ask_to_stop: Callable[[str], None] | None = None
        self.reason: str | None = None
        """Why the sweep was stopped from here."""
        self.log = RowLog(store, PROGRESS_COLUMNS)
        self._forecast = Forecast(plan)
        self._lock = threading.Lock()
        self._summaries: dict[str, Mapping[str, Any]] = {}
        self._packs = {"pending": 0, "running": 0, "done": 0, "failed": 0}
        self._losses: Counter[str] = Counter()
        self._events: deque[str] = deque(maxlen=KEPT_EVENTS)
        self._steps_done = self._idle_steps = 0
        self._rate_window: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._state = "running"
        self._workers: int | None = None
        self.sweep_errors: list[str] = []
        self._started_at = datetime.now(UTC)
        self._last_heartbeat = float("-inf")
        self._reported_cells: set[str] = set()
        self._rows_reported = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="monitor", daemon=True)

    def start(self) -> None:
        """Read what is there and begin to watch."""
        before = self._store.load_status()
        self._hours.go_on_from(before)
        self.log.refresh()
        self._rows_reported = len(self.log.rows)
        self._reported_cells = {cell for cell, left in self._cells_left().items() if not left}
        if silence := ended_without_a_word(before):
            self.event(f"the last driver {silence}")
        self._thread.start()

    def stop_with(self, ask: Callable[[str], None]) -> None:
        """From now on `ask` for a stop, with the reason, when the budget is spent or the store holds a request."""
        self._ask_to_stop = ask
        self.check_budget()

    def check_budget(self) -> None:
        """Ask for a stop if the budget of device-hours is spent."""
        with self._lock:
            over = self._hours.over()
        if over:
            self._ask(over)

    def _ask(self, reason: str) -> None:
        if self.reason is None and self._ask_to_stop is not None:
            self.reason = reason
            self.event(f"stopping: {reason}")
            self._ask_to_stop(reason)

    def finish(self, state: str, reason: str | None = None) -> Progress:
        """Stop watching, write the last heartbeat with `state`, and why, and return the final progress."""
        self._stop.set()
        self._thread.join()
        self._state = state
        self.reason = self.reason or reason
        return self._refresh(force=True)

    def event(self, text: str) -> None:
        """Record and show something that happened; what repeats itself is said once."""
        with self._lock:
            if self._events and self._events[-1].endswith(f" {text}"):
                return
            self._events.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}")
            self._driver_log.add(text)
        self._view.event(text)

    def packs_planned(self, n_packs: int) -> None:
        """A stage begins with `n_packs` packs."""
        with self._lock:
            self._summaries.clear()
            self._packs = {"pending": n_packs, "running": 0, "done": 0, "failed": 0}
            self._hours.hold(0)

    def packs_added(self, n_packs: int) -> None:
        """What waits was cut into so many packs more."""
        with self._lock:
            self._packs["pending"] += n_packs

    def workers_changed(self, n_workers: int) -> None:
        """There is room for so many packs at once now."""
        with self._lock:
            before, self._workers = self._workers, n_workers
        if before not in (None, n_workers):
            waits = "; waiting for nodes" if not n_workers else ""
            self.event(f"room for {n_workers} packs at once, {before} before{waits}")

    def pack_started(self, pack_id: str) -> None:
        """A pack's trial began."""
        with self._lock:
            self._summaries[pack_id] = {}
            self._packs["pending"] -= 1
            self._packs["running"] += 1
            self._hours.hold(self._packs["running"])

    def pack_reported(self, pack_id: str, summary: Mapping[str, Any]) -> None:
        """A pack's trial reported."""
        with self._lock:
            before = self._summaries.get(pack_id, {})
            self._steps_done += _gained(before, summary, "run_steps")
            self._idle_steps += _gained(before, summary, "idle_lane_steps")
            self._rate_window.append((time.monotonic(), self._steps_done))
            self._summaries[pack_id] = summary

    def sweep_failed(self, error: str) -> None:
        """The store, or the engine on this machine, does not work: no pack can go on."""
        with self._lock:
            self.sweep_errors.append(error)

    def has_written(self, pack_id: str) -> bool:
        """Whether a pack's attempt has reported that it wrote something."""
        with self._lock:
            return int(self._summaries.get(pack_id, {}).get("files_written", 0)) > 0

    def pack_ended(self, pack_id: str, **becomes: int) -> None:
        """A pack's trial ended; `becomes` are the packs that it is now, by `pending`, `done` or `failed`."""
        with self._lock:
            # A worker may be lost before its trial has started.
            was = "pending" if self._summaries.pop(pack_id, None) is None else "running"
            self._packs[was] -= 1
            self._hours.hold(self._packs["running"])
            for name, n in becomes.items():
                self._packs[name] += n

    def pack_lost(self, pack_id: str) -> str:
        """A pack has lost its worker; return how to say how often by now."""
        self._losses[pack_id] += 1
        return "" if self._losses[pack_id] == 1 else f" ({self._losses[pack_id]} times by now)"

    def _loop(self) -> None:
        wait = REFRESH_S
        while not self._stop.wait(wait):
            began = time.monotonic()
            try:
                self._refresh()
            except Exception as error:  # a thread that ended would say nothing, and the heartbeat with it
                with contextlib.suppress(Exception):  # it may be the view that fails
                    self.event(f"watching failed and goes on: {one_line(error)}")
            wait = max(REFRESH_S, REFRESH_SHARE * (time.monotonic() - began))  # a large sweep takes longer to sum up

    def _refresh(self, *, force: bool = False) -> Progress:
        self.check_budget()
        try:
            self.log.refresh()
        except StoreError as error:
            self.event(str(error))
        if self._rows_reported != len(self.log.rows):
            self._rows_reported = len(self.log.rows)
            self._report_cells()
        status = self._status()
        if force or time.monotonic() - self._last_heartbeat >= HEARTBEAT_S:
            self._last_heartbeat = time.monotonic()
            try:
                self._store.put_status(status)
                self._driver_log.write()
                reason = self._store.asked_to_stop(self._driver["id"])
            except StoreError as error:
                self.event(str(error))
                reason = None
            if reason is not None:
                self._ask(reason)
        progress = measure_progress(self._store.sweep, self._plan, self.log.rows, status, forecast=self._forecast)
        self._view.update(progress)
        return progress

    def _status(self) -> dict[str, Any]:
        with self._lock:
            lane_steps = self._steps_done + self._idle_steps
            summaries = [s for s in self._summaries.values() if s]
            return {
                "sweep": self._store.sweep,
                "state": self._state,
                "driver": self._driver,
                "workers": self._workers,
                "started_at": self._started_at.isoformat(),
                "heartbeat_at": datetime.now(UTC).isoformat(),
                "packs": dict(self._packs),
                "steps_per_s": self._rate(),
                "lanes_active": sum(s["lanes_active"] for s in summaries),
                "run_steps_under_way": sum(s["run_steps_under_way"] for s in summaries),
                "events": list(self._events),
                "idle_share": self._idle_steps / lane_steps if lane_steps else None,
                "extend_to": self._extend_to,
                "reason": self.reason if self._state in ("interrupted", "failed") else None,
                **self._hours.to_status(),
                "worker_losses": sum(self._losses.values()),
            }

    def _rate(self) -> float:
        """Run-steps a second over the last `RATE_WINDOW_S`."""
        window, now = self._rate_window, time.monotonic()
        while len(window) > 1 and now - window[0][0] > RATE_WINDOW_S:
            window.popleft()
        elapsed = now - window[0][0]
        return (window[-1][1] - window[0][1]) / elapsed if elapsed > 0 else 0.0

    def _cells_left(self) -> dict[str, int]:
        left: dict[str, int] = {}
        for run in self._plan.runs:
            left[run.cell_id] = left.get(run.cell_id, 0) + (run.run_id not in self.log.rows)
        return left

    def _report_cells(self) -> None:
        for cell_id, left in self._cells_left().items():
            if not left and cell_id not in self._reported_cells:
                self._reported_cells.add(cell_id)
                runs = [r for r in self._plan.runs if r.cell_id == cell_id]
                self.event(describe_cell(runs[0].config, [self.log.rows[r.run_id] for r in runs]))


def _gained(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> int:
    """What a count has risen by between two summaries of a pack's attempt."""
    return int(now[name]) - int(before.get(name, 0))


def describe_cell(config: RunConfig, rows: list[dict[str, Any]]) -> str:
    """One line about a finished cell."""
    steps = sorted(row["grokked_step"] for row in rows if row["outcome"] == "grokked")
    where = f"p {config.p} {config.arm}" + (f" rho {config.rho:g}" if config.rho is not None else "")
    where = ", ".join((f"{where} tau {config.tau:g}", *config.differences()))
    span = f", grokked at {steps[0]:,}–{steps[-1]:,}" if steps else ""
    failed = sum(row["outcome"] == "failed" for row in rows)
    return f"cell {where}: {len(steps)} of {len(rows)} grokked{span}" + (f", {failed} failed" if failed else "")
