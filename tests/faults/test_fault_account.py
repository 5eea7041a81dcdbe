"""The account of a campaign: what counts as lost, twice there or different, and what the table says of it."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from tests.faults.compare import Losses, Results, compare
from tests.faults.kinds import CampaignName
from tests.faults.outcome import COLUMNS, Outcome, broken, table

PLANNED = frozenset({"a", "b", "c"})


def results(**changes: dict[str, object]) -> Results:
    """Three runs, of which b did not grok and c is a fork; `changes` of columns by run, None takes the row away."""
    rows = {
        "a": {"outcome": "grokked", "grokked_step": 50, "steps_run": 50, "final_state_sha256": "1", "fork_step": None},
        "b": {"outcome": "censored", "grokked_step": None, "steps_run": 75, "final_state_sha256": "2"},
        "c": {"outcome": "grokked", "grokked_step": 75, "steps_run": 75, "final_state_sha256": "3", "fork_step": 25},
    }
    found = {run_id: {**row, **changes.get(run_id, {})} for run_id, row in rows.items()}
    runs = pd.DataFrame([{"run_id": run_id, **row} for run_id, row in found.items()])
    steps = [(run_id, step) for run_id, row in rows.items() for step in range(25, int(row["steps_run"]) + 1, 25)]
    curves = pd.DataFrame(
        [{"run_id": run_id, "step": step, "loss": 1 / step, "attempt": "x"} for run_id, step in steps]
    )
    return Results(PLANNED, runs, curves)


WHOLE = results()


def test_a_sweep_is_as_good_as_itself() -> None:
    assert compare(WHOLE, results()) == Losses()
    assert not compare(WHOLE, results()).any


def test_a_run_without_a_row_is_lost() -> None:
    found = results()
    found = replace(found, runs=found.runs[found.runs.run_id != "b"])
    assert compare(WHOLE, found) == Losses(lost=1)


def test_every_row_too_many_is_counted() -> None:
    found = results()
    found = replace(found, runs=pd.concat([found.runs, found.runs[found.runs.run_id == "a"]]))
    assert compare(WHOLE, found) == Losses(duplicated=1)
    foreign = found.runs[found.runs.run_id == "a"].head(1).assign(run_id="z")
    assert compare(WHOLE, replace(found, runs=pd.concat([WHOLE.runs, foreign]))) == Losses(duplicated=1)


@pytest.mark.parametrize("changed", [{"grokked_step": 25}, {"outcome": "failed"}, {"grokked_step": None}])
def test_another_answer_is_different(changed: dict[str, object]) -> None:
    assert compare(WHOLE, results(a=changed)) == Losses(different=1)


def test_another_final_state_is_told_apart_from_another_answer() -> None:
    assert compare(WHOLE, results(c={"final_state_sha256": "4"})) == Losses(states_differ=1)


def test_a_curve_that_lacks_a_reading_or_has_another_differs() -> None:
    found = results()
    short = replace(found, curves=found.curves[:-1])
    assert compare(WHOLE, short) == Losses(curves_differ=1)
    other = replace(found, curves=found.curves.assign(loss=found.curves.loss.where(found.curves.step != 25, 0.5)))
    assert compare(WHOLE, other) == Losses(curves_differ=3)
    by_another = replace(found, curves=found.curves.assign(attempt="y").sample(frac=1.0, random_state=0))
    assert compare(WHOLE, by_another) == Losses(), "who trained it, and in what order it is kept, is no matter"


def test_steps_needed_are_those_of_each_row_once_and_of_a_fork_those_after_its_parent() -> None:
    assert WHOLE.run_steps == 50 + 75 + 50


def test_the_table_has_totals_and_says_what_was_left_out() -> None:
    a, b = CampaignName("directory", "kill-worker"), CampaignName("s3", "answer-503")
    outcomes = [
        Outcome(a, {"kill-worker": 4}, 1, 30, Losses(), 0, 110, 100, 2, 0, 10.4),
        Outcome(b, left_out="no server"),
        Outcome(b, {"answer-503": 3}, 2, 60, Losses(lost=1), 1, 100, 100, 0, 1, 20.4),
    ]
    made = table(outcomes, 7)
    assert "left out: no server" in made.rows[1]
    assert made.rows[0][COLUMNS.index("work repeated")] == "10.0 %"
    totals = dict(zip(COLUMNS, made.rows[-1], strict=True))
    assert totals["faults"] == 7
    assert totals["runs"] == 90
    assert totals["rows lost"] == 1
    assert totals["orphans"] == 1
    assert totals["work repeated"] == "5.0 %"
    assert totals["wall s"] == 31
    assert all(len(row) == len(COLUMNS) for row in made.rows)


def test_anything_lost_or_orphaned_breaks_the_promise_and_a_resume_or_a_hung_command_does_not() -> None:
    name = CampaignName("directory", "mixed")
    assert not broken([Outcome(name, resumes=5, hung=1, steps_trained=9, steps_needed=3), Outcome(name, left_out="x")])
    for bad in (Losses(1), Losses(0, 1), Losses(0, 0, 1), Losses(0, 0, 0, 1), Losses(0, 0, 0, 0, 1)):
        assert broken([Outcome(name), Outcome(name, losses=bad)])
    assert broken([Outcome(name, orphans=1)])
    assert broken([Outcome(name, too_many=1)])
