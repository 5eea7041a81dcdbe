"""What is still to be trained: rows against the budget each run is given now, and parents against their states."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.spec import parse_spec
from grok_sweeps.store.todo import Todo, horizon, settled

BUDGET, LONGER, FORK_STEP = 100, 250, 20
FORKS = f"""
name: made
runs: {{p: 5, seeds: 2, max_steps: {BUDGET}}}
blocks:
  - {{arm: free}}
  - {{arm: fork, rho: [0.9, 1.1], fork: {{of: control, at_step: {FORK_STEP}}}}}
"""

Rows = dict[str, dict[str, Any]]


def row(outcome: str, steps_run: int) -> dict[str, Any]:
    return {"outcome": outcome, "steps_run": steps_run}


@pytest.fixture
def plan() -> Plan:
    """Two free runs, and two forks each of two parents that the plan adds."""
    made = make_plan(parse_spec(FORKS))
    assert [r.stage for r in made.runs] == [0] * 4 + [1] * 4
    return made


def parents_of(plan: Plan) -> list[str]:
    return [r.run_id for r in plan.runs if r.run_id in plan.parents.values()]


def all_censored(plan: Plan) -> Rows:
    return {r.run_id: row("censored", r.config.max_steps) for r in plan.runs}


def whole_states(plan: Plan) -> dict[str, set[int]]:
    return {run_id: {FORK_STEP} for run_id in parents_of(plan)}


@pytest.mark.parametrize(
    ("found", "budget", "done"),
    [
        (None, 100, False),
        (row("grokked", 75), 100, True),
        (row("grokked", 75), 9000, True),
        (row("diverged", 25), 100, True),
        (row("diverged", 25), 9000, True),
        (row("censored", 100), 100, True),
        (row("censored", 100), 101, False),
        (row("censored", 200), 100, True),
    ],
)
def test_a_row_settles_a_run_unless_it_was_censored_before_its_budget(
    found: dict[str, Any] | None, budget: int, done: bool
) -> None:
    assert settled(found, budget, kept=None) is done


@pytest.mark.parametrize(
    ("found", "kept", "done"),
    [
        (row("censored", 20), {20}, True),
        (row("grokked", 20), {20}, True),
        (row("censored", 20), {10, 20}, True),
        (row("censored", 20), (), False),
        (row("grokked", 20), (), False),
        (row("censored", 20), {10}, False),
        (row("censored", 10), {20}, False),
        (None, {20}, False),
    ],
)
def test_a_parent_is_settled_by_its_row_and_its_state_at_the_fork(
    found: dict[str, Any] | None, kept: Collection[int], done: bool
) -> None:
    assert settled(found, 20, kept) is done


@pytest.mark.parametrize(
    ("stop", "extend_to", "expected"),
    [
        ("grokked", None, BUDGET),
        ("grokked", LONGER, LONGER),
        ("grokked+50", LONGER, LONGER),
        ("grokked", 50, BUDGET),
        ("budget", None, BUDGET),
        ("budget", LONGER, BUDGET),
    ],
)
def test_a_budget_is_only_ever_made_longer_and_not_for_runs_that_end_at_it(
    stop: str, extend_to: int | None, expected: int
) -> None:
    (run,) = make_plan(parse_spec(f"name: made\nruns: {{p: 5, seeds: 1, max_steps: {BUDGET}, stop: {stop}}}\n")).runs
    assert horizon(run.config, extend_to) == expected


def test_without_rows_everything_is_to_do_stage_by_stage_in_the_plans_order(plan: Plan) -> None:
    todo = Todo(plan)
    assert todo.runs({}) == list(plan.runs)
    assert [todo.runs({}, stage) for stage in (0, 1, 2)] == [list(plan.stage(0)), list(plan.stage(1)), []]


def test_rows_and_states_of_everything_leave_nothing_to_do_in_any_stage(plan: Plan) -> None:
    todo = Todo(plan, kept=whole_states(plan))
    found = {**all_censored(plan), "of another plan": row("censored", 1)}
    assert todo.runs(found) == todo.runs(found, 0) == todo.runs(found, 1) == []


def test_only_a_parents_missing_state_makes_a_finished_run_be_trained_again(plan: Plan) -> None:
    gone, whole = parents_of(plan)
    todo = Todo(plan, kept={whole: {FORK_STEP}, gone: {FORK_STEP - 1}})
    assert [r.run_id for r in todo.runs(all_censored(plan))] == [gone]
    assert todo.runs(all_censored(plan), stage=1) == [], "its forks have their rows"
    assert [r.run_id for r in Todo(plan).runs(all_censored(plan))] == [gone, whole]


@pytest.mark.parametrize("outcome", ["failed", "diverged"])
def test_forks_of_a_parent_that_has_no_state_are_blocked_and_it_is_settled(outcome: str, plan: Plan) -> None:
    broken, whole = parents_of(plan)
    found = {broken: row(outcome, 7), whole: row("censored", FORK_STEP)}
    todo = Todo(plan, kept={whole: {FORK_STEP}})
    forks = [run_id for run_id, parent in plan.parents.items() if parent == broken]
    assert todo.blocked(found) == dict.fromkeys(forks, broken)
    assert len(forks) == 2
    left = [r.run_id for r in todo.runs(found)]
    assert len(left) == len(plan.runs) - 2 - len(forks)
    assert not set(left) & {broken, whole, *forks}
    assert Todo(plan, kept=whole_states(plan)).blocked(found) == {}, "another attempt has kept the state"
    assert Todo(plan, kept={whole: {FORK_STEP}}).blocked({**found, **all_censored(plan), broken: row(outcome, 7)}) == {}


def test_a_longer_budget_brings_back_the_censored_runs_and_no_parent(plan: Plan) -> None:
    parents = parents_of(plan)
    todo = Todo(plan, LONGER, whole_states(plan))
    expected = [r.run_id for r in plan.runs if r.run_id not in parents]
    assert [r.run_id for r in todo.runs(all_censored(plan))] == expected

    ended = dict(zip(expected, [row("grokked", 60), row("diverged", 25), row("censored", LONGER)], strict=False))
    found = {**all_censored(plan), **ended}
    assert [r.run_id for r in todo.runs(found)] == expected[3:]
    assert [r.run_id for r in todo.runs(found, stage=0)] == []


def test_a_shorter_budget_than_was_spent_brings_back_nothing(plan: Plan) -> None:
    assert Todo(plan, FORK_STEP, whole_states(plan)).runs(all_censored(plan)) == []
    spent = {run_id: row("censored", 10 * LONGER) for run_id in all_censored(plan)}
    assert Todo(plan, LONGER, whole_states(plan)).runs(spent) == []


def test_what_is_left_of_a_few_runs_is_what_is_left_of_all_and_looks_at_those_runs_alone(plan: Plan) -> None:
    class Asked(dict[str, dict[str, Any]]):
        """Rows that note which are looked at."""

        def __init__(self, rows: Rows) -> None:
            super().__init__(rows)
            self.asked: set[str] = set()

        def get(self, key: str, default: Any = None) -> Any:
            self.asked.add(key)
            return super().get(key, default)

        def __contains__(self, key: object) -> bool:
            self.asked.add(str(key))
            return super().__contains__(key)

    broken, whole = parents_of(plan)
    found = {broken: row("failed", 7), whole: row("censored", FORK_STEP), plan.runs[0].run_id: row("grokked", 60)}
    todo = Todo(plan, kept={whole: {FORK_STEP}})
    left = {run.run_id for run in todo.runs(found)}
    for run in plan.runs:
        rows = Asked(found)
        assert [run.run_id] * (run.run_id in left) == [r.run_id for r in todo.left_of([run], rows)]
        assert rows.asked <= {run.run_id, plan.parents.get(run.run_id)}


def test_a_fork_of_a_fork_is_blocked_by_the_run_that_ended_without_a_state(plan: Plan) -> None:
    first, own = plan.runs[0], plan.runs[-1]
    middle = replace(own, config=replace(own.config, fork_cell=first.cell_id))
    last = replace(own, run_id="last", cell_id="last", config=replace(own.config, fork_cell=own.cell_id, seed=1))
    middle, first = (replace(r, config=replace(r.config, seed=1)) for r in (middle, first))
    chain = Plan("made", (first, middle, last), {})
    assert chain.parents == {"last": middle.run_id, middle.run_id: first.run_id}
    found = {first.run_id: row("diverged", 10)}
    assert Todo(chain).blocked(found) == {middle.run_id: first.run_id, "last": first.run_id}
    assert Todo(chain).left_of([last], found) == []
    assert Todo(chain).left_of([last], {}) == [last]
