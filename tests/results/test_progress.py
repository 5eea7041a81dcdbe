"""How far a sweep is, from plan, rows and heartbeat alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from results_rows import NOON, SPEC, Row, full_row, grokked

from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.finished_runs import FinishedRuns
from grok_sweeps.progress import STALE_S, measure_progress
from grok_sweeps.spec import parse_spec


@pytest.fixture
def plan() -> Plan:
    return make_plan(parse_spec(SPEC.format(name="made")))


def _rows(plan: Plan, n: int, **values: Any) -> dict[str, Row]:
    return {r.run_id: grokked(r.run_id, 200, steps_run=200, **values) for r in plan.runs[:n]}


def _heartbeat(at: datetime = NOON, **values: Any) -> dict[str, Any]:
    return {"state": "running", "heartbeat_at": at.isoformat(), "steps_per_s": 50.0, "lanes_active": 2, **values}


@pytest.mark.parametrize(
    ("finished", "status", "age_s", "state"),
    [
        (0, None, 0, "not started"),
        (2, None, 0, "not started"),
        (2, {}, 1, "running"),
        (2, {}, STALE_S, "running"),
        (2, {}, STALE_S + 1, "interrupted"),
        (2, {"state": "failed"}, STALE_S + 1, "failed"),
        (4, {}, 1, "finished"),
        (4, {}, STALE_S + 1, "finished"),
        (4, None, 0, "finished"),
    ],
)
def test_the_state_of_a_sweep(
    finished: int, status: dict[str, Any] | None, age_s: float, state: str, plan: Plan
) -> None:
    heartbeat = None if status is None else _heartbeat(**status)
    progress = measure_progress(
        "made", FinishedRuns(plan, _rows(plan, finished)), heartbeat, NOON + timedelta(seconds=age_s)
    )
    assert progress.state == state
    assert progress.finished == finished
    assert progress.heartbeat_age_s == (None if status is None else age_s)


def test_time_left_is_steps_left_at_the_present_rate(plan: Plan) -> None:
    progress = measure_progress("made", FinishedRuns(plan, _rows(plan, 2)), _heartbeat(), NOON)
    assert progress.run_steps_done == 400
    assert progress.run_steps_expected == pytest.approx(800, rel=0.1), "the two to come are foreseen as the two before"
    assert progress.eta_s == (progress.run_steps_expected - 400) / 50


def test_failed_runs_say_nothing_of_the_time_left_and_the_first_is_named(plan: Plan) -> None:
    rows = _rows(plan, 1)
    for run, error in zip(plan.runs[1:3], ("first", "second"), strict=True):
        rows[run.run_id] = full_row(run.run_id, outcome="failed", steps_run=3, error=error)
    progress = measure_progress("made", FinishedRuns(plan, rows), _heartbeat(), NOON)
    assert progress.run_steps_expected == pytest.approx(400, rel=0.1), (
        "the run to come is foreseen as the one that grokked was"
    )
    assert dict(progress.outcomes) == {"grokked": 1, "failed": 2}
    assert progress.first_error == f"run {plan.runs[1].run_id}: first"
    assert measure_progress("made", FinishedRuns(plan, _rows(plan, 4)), None, NOON).first_error is None


def test_a_lost_driver_has_no_rate_and_no_lanes(plan: Plan) -> None:
    progress = measure_progress("made", FinishedRuns(plan), _heartbeat(), NOON + timedelta(hours=1))
    assert (progress.steps_per_s, progress.eta_s, progress.lanes_active) == (None, None, 0)


def test_rows_of_other_runs_do_not_count(plan: Plan) -> None:
    progress = measure_progress("made", FinishedRuns(plan, {"foreign": grokked("foreign", 100)}), None, NOON)
    assert (progress.finished, dict(progress.outcomes)) == (0, {})


def test_outcomes_stages_and_cells_are_counted(plan: Plan) -> None:
    rows = _rows(plan, 2)
    censored = plan.runs[2].run_id
    rows[censored] = full_row(censored, steps_run=1000)
    progress = measure_progress("made", FinishedRuns(plan, rows), None, NOON)
    assert dict(progress.outcomes) == {"grokked": 2, "censored": 1}
    assert [(s.stage, s.runs, s.finished) for s in progress.stages] == [(0, 4, 3)]
    assert [(c.p, c.arm, c.runs, c.finished, c.grokked) for c in progress.cells] == [(5, "free", 4, 3, 2)]
