"""How far a sweep is, worked out from the store alone: plan, rows, and the driver's last heartbeat.

The live view of `run` and the `status` command of another process show this same value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from grok_sweeps.plan.finished_runs import CellProgress, FinishedRuns, StageProgress
from grok_sweeps.plan.learned import Accuracy

HEARTBEAT_S = 2.0
"""The driver writes `status.json` this often."""
STALE_S = 30.0
"""A running sweep whose heartbeat is older than this has lost its driver."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Device-hours that a sweep's packs have held, over all its drivers: `unit` is GPU-hours or core-hours.

    `budget` is the last driver's; `expected` those in all, if the steps to come cost what the steps before did, and
    None where no driver is at work.
    """

    unit: str
    hours: float
    budget: float | None = None
    expected: float | None = None


@dataclass(frozen=True)
class Progress:
    """State of a sweep. `eta_s` and `steps_per_s` are None where no driver is at work.

    `accuracy` says how well finished cells were foreseen, `idle_share` is the share of the last driver's lane-steps
    that were done in lanes whose run had ended, `first_error` what is said of the first failed run in the plan's order,
    `reason` why it was stopped or failed, or when its driver was heard of last; `worker_losses` are those that the
    driver has seen.
    """

    sweep: str
    state: str
    runs: int
    outcomes: Mapping[str, int]
    stages: tuple[StageProgress, ...]
    cells: tuple[CellProgress, ...]
    run_steps_done: int
    run_steps_expected: int
    accuracy: Accuracy | None = None
    packs: Mapping[str, int] = field(default_factory=dict)
    steps_per_s: float | None = None
    eta_s: float | None = None
    lanes_active: int = 0
    idle_share: float | None = None
    events: tuple[str, ...] = ()
    heartbeat_age_s: float | None = None
    first_error: str | None = None
    spent: Spent | None = None
    reason: str | None = None
    worker_losses: int = 0

    @property
    def finished(self) -> int:
        """Runs that have their row."""
        return sum(self.outcomes.values())


def measure_progress(
    sweep: str, finished: FinishedRuns, status: Mapping[str, Any] | None, now: datetime | None = None
) -> Progress:
    """Sum up a sweep from its finished runs and the driver's last heartbeat (None: never started).

    Time left is expected run-steps over the present rate.
    """
    outcomes, outlook = finished.outcomes, finished.outlook
    left = outlook.steps_left
    status = status or {}
    n_finished = sum(outcomes.values())
    state, age = _state(finished.n_runs, n_finished, status, now or datetime.now(UTC))
    under_way = min(status.get("run_steps_under_way", 0), left) if state == "running" else 0
    rate = status.get("steps_per_s") if state == "running" else None
    return Progress(
        sweep=sweep,
        state=state,
        runs=finished.n_runs,
        outcomes=outcomes,
        stages=finished.stages,
        cells=finished.cells,
        run_steps_done=outlook.steps_done + under_way,
        run_steps_expected=outlook.steps_done + left,
        accuracy=outlook.accuracy,
        packs=status.get("packs", {}),
        steps_per_s=rate,
        eta_s=(left - under_way) / rate if rate else None,
        lanes_active=status.get("lanes_active", 0) if state == "running" else 0,
        idle_share=status.get("idle_share"),
        events=tuple(status.get("events", ())),
        heartbeat_age_s=age,
        first_error=finished.first_error,
        spent=_spent(status, outlook.steps_done + under_way, outlook.steps_done + left if rate else None),
        reason=_reason(state, status, finished.n_runs - n_finished, now),
        worker_losses=status.get("worker_losses", 0),
    )


def _reason(state: str, status: Mapping[str, Any], left: int, now: datetime | None) -> str | None:
    """Why a sweep stands still: what its driver wrote or, where it could not, since when it says nothing."""
    if state not in ("interrupted", "failed"):
        return None
    if status.get("state") == "finished":
        return f"the last driver had finished, but {left:,} runs have no row now; resume trains them"
    if silence := ended_without_a_word(status, now):
        return f"its driver {silence}"
    said: str | None = status.get("reason")
    return said


def ended_without_a_word(status: Mapping[str, Any] | None, now: datetime | None = None) -> str | None:
    """What is said of a driver that is gone and has not written why; None where it is not so."""
    age = heartbeat_age_s(status, now)
    if status is None or status.get("state") != "running" or age is None or age <= STALE_S:
        return None
    return f"stopped without giving a reason; last heartbeat at {status['heartbeat_at']}"


def heartbeat_age_s(status: Mapping[str, Any] | None, now: datetime | None = None) -> float | None:
    """Seconds since the driver's last heartbeat; None where there was none."""
    if not status or "heartbeat_at" not in status:
        return None
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(status["heartbeat_at"])).total_seconds()


def _spent(status: Mapping[str, Any], done: int, expected: int | None) -> Spent | None:
    """Hours of the devices that the last driver's packs held."""
    kind, unit = ("gpu_hours", "GPU-hours") if status.get("hours_of") == "gpu" else ("core_hours", "core-hours")
    hours = float(status.get(kind) or 0.0)
    if not hours:
        return None
    in_all = hours * expected / done if expected is not None and done else None
    return Spent(unit, hours, status.get("max_device_hours"), in_all)


def _state(runs: int, finished: int, status: Mapping[str, Any], now: datetime) -> tuple[str, float | None]:
    age = heartbeat_age_s(status, now)
    at_work = bool(status) and status["state"] == "running" and age is not None and age <= STALE_S
    if finished >= runs and not (at_work and status.get("extend_to")):
        return "finished", age
    if not status:
        return "not started", None
    if status["state"] == "finished" or (status["state"] == "running" and not at_work):
        return "interrupted", age
    return str(status["state"]), age
