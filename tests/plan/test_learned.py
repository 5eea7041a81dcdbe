"""The forecast of a sweep learns from its finished runs. Delays are drawn from laws that differ from the rule."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from grok_sweeps.config import RunConfig
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.estimate import expected_steps, ln_delay
from grok_sweeps.plan.finished_runs import FinishedRuns
from grok_sweeps.plan.forecast import Outlook
from grok_sweeps.plan.learned import CELL_SD, SEED_SD, DelayLaw, Seen
from grok_sweeps.plan.plan import PlannedRun
from grok_sweeps.spec import parse_spec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GRID = """
name: grid
runs: {p: [59, 97], arm: clamp, rho: [0.95, 1.0, 1.05, 1.1], tau: [1.0, 1.2, 1.5], w_c: 54.5, seeds: 6,
       weight_decay: [0.5, 1.0], max_steps: 1000000, eval_every: 5}
"""

Law = Callable[[RunConfig], float]
Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(parse_spec(GRID))


def strange(config: RunConfig) -> float:
    """ln T where the rule is wrong by factors, in level, in two slopes, and on an axis that it does not know."""
    return (
        ln_delay(config)
        + 1.2
        - 4 * ((config.rho or 1) - 1)
        + 0.9 * math.log(config.tau)
        - math.log(config.weight_decay)
    )


def trained(runs: Sequence[PlannedRun], law: Law, horizon: int | None = None) -> Rows:
    """Rows of these runs, finished in this order, with the scatter of seeds around the law."""
    rows = {}
    for k, run in enumerate(runs):
        step = round(math.exp(law(run.config) + random.Random(run.run_id).gauss(0, SEED_SD)))
        budget = horizon or run.config.max_steps
        ended: dict[str, Any] = {"outcome": "grokked", "grokked_step": step, "steps_run": step}
        if step > budget:
            ended = {"outcome": "censored", "grokked_step": None, "steps_run": budget}
        rows[run.run_id] = {**ended, "finished_at": NOON + timedelta(seconds=k)}
    return rows


def shuffled(plan: Plan, seed: int = 1) -> list[PlannedRun]:
    """The runs cell by cell, cells in random order."""
    cells = list(dict.fromkeys(run.cell_id for run in plan.runs))
    random.Random(seed).shuffle(cells)
    return [run for cell in cells for run in plan.runs if run.cell_id == cell]


def truth(runs: Sequence[PlannedRun], law: Law) -> float:
    return sum(row["steps_run"] for row in trained(runs, law).values())


def outlook_of(plan: Plan, rows: Rows | None = None) -> Outlook:
    return FinishedRuns(plan, rows).outlook


def off(outlook: Outlook, left: float) -> float:
    """The factor by which the steps to come are misjudged."""
    return math.exp(abs(math.log(outlook.steps_left / left)))


def test_without_rows_the_forecast_is_the_rule(plan: Plan) -> None:
    outlook = outlook_of(plan)
    assert outlook == Outlook(0, sum(expected_steps(run.config) for run in plan.runs), None)


def test_a_single_run_moves_the_forecast_part_of_the_way(plan: Plan) -> None:
    runs = shuffled(plan)
    outlook = outlook_of(plan, trained(runs[:1], lambda c: ln_delay(c) + 0.3))
    rule = sum(expected_steps(run.config) for run in runs[1:])
    assert rule * 1.05 < outlook.steps_left < rule * math.exp(0.3)


def test_the_more_cells_are_finished_the_better_the_rest_is_foreseen(plan: Plan) -> None:
    runs = shuffled(plan)
    misjudged = [off(outlook_of(plan, trained(runs[:n], strange)), truth(runs[n:], strange)) for n in (0, 36, 144)]
    assert misjudged[0] > 2.5
    assert misjudged[1] < 1.5
    assert misjudged[2] < 1.1


def test_a_law_that_the_rule_fits_is_kept(plan: Plan) -> None:
    runs = shuffled(plan)
    for n in (6, 60, 240):
        assert off(outlook_of(plan, trained(runs[:n], ln_delay)), truth(runs[n:], ln_delay)) < 1.15


def test_seeds_to_come_are_foreseen_from_the_seeds_of_their_cell(plan: Plan) -> None:
    """One cell is an exception that no axis explains."""
    odd = plan.runs[0].cell_id

    def law(config: RunConfig) -> float:
        return ln_delay(config) + (1.5 if config.cell_id == odd else 0.0)

    last = max(run.config.seed for run in plan.runs)
    before = [run for run in plan.runs if run.config.seed < last]
    (to_come,) = [run for run in plan.runs if run.config.seed == last and run.cell_id == odd]
    others = [run for run in plan.runs if run.config.seed == last and run.cell_id != odd]
    outlook = outlook_of(plan, trained([*before, *others], law))
    assert off(outlook, math.exp(law(to_come.config))) < 1.25


def test_the_accuracy_is_that_of_foresight_not_of_hindsight(plan: Plan) -> None:
    runs = shuffled(plan)
    first = outlook_of(plan, trained(runs[:6], strange)).accuracy
    late = outlook_of(plan, trained(runs, strange)).accuracy
    assert first is not None
    assert late is not None
    assert first.n_cells == 1
    wrong_by = abs(strange(runs[0].config) - ln_delay(runs[0].config))
    assert math.log(first.factor) == pytest.approx(wrong_by, abs=3 * SEED_SD), "the first cell is foreseen by the rule"
    assert late.n_cells == plan.n_cells
    assert 1.0 < late.factor < 1.3


def test_censored_runs_do_not_drag_the_forecast_down(plan: Plan) -> None:
    """Half of the cells reach their horizon: the law beyond it is found as if they had been seen to the end."""
    runs = shuffled(plan)
    configs = [run.config for run in runs if run.config.seed == 0]
    horizon = int(np.median([math.exp(strange(c)) for c in configs]))
    seen = seen_of(runs, configs, horizon)
    assert seen.n_censored.sum() > 0.4 * len(runs)
    foreseen = DelayLaw(configs).fit(seen)
    true = np.array([strange(c) for c in configs])
    as_if_grokked = Seen(
        seen.n_runs,
        (seen.n_grokked * seen.ln_grokked + seen.n_censored * seen.ln_horizon) / seen.n_runs,
        np.zeros_like(true),
        np.zeros_like(true),
        seen.first_at,
    )
    long = true > math.log(2 * horizon)
    naive = DelayLaw(configs).fit(as_if_grokked)
    assert np.mean(naive[long] - true[long]) < -0.9, "taken for grokked at their horizon they would"
    assert abs(np.mean(foreseen[long] - true[long])) < 0.35
    assert (foreseen[seen.n_grokked == 0] > math.log(horizon)).all()


def test_a_longer_budget_for_a_censored_cell_is_foreseen_to_be_used(plan: Plan) -> None:
    runs = [run for run in plan.runs if run.cell_id == plan.runs[0].cell_id]
    config = runs[0].config
    horizon = round(0.3 * math.exp(ln_delay(config)))
    low = DelayLaw([config]).fit(seen_of(runs, [config], horizon))
    high = DelayLaw([config]).fit(seen_of(runs, [config], 3 * horizon))
    assert math.log(horizon) < low[0] <= ln_delay(config) + 3 * CELL_SD
    assert high[0] >= low[0] - 1e-9


def test_diverged_and_failed_runs_teach_nothing(plan: Plan) -> None:
    rows = trained(plan.runs[:2], ln_delay)
    for row, outcome in zip(rows.values(), ("diverged", "failed"), strict=True):
        row.update(outcome=outcome, grokked_step=None, steps_run=10)
    outlook = outlook_of(plan, rows)
    assert outlook == Outlook(10, sum(expected_steps(run.config) for run in plan.runs[2:]), None)


def test_forks_cost_their_steps_after_the_fork() -> None:
    text = "name: f\nruns: {arm: fork, rho: 1.0, fork: {of: control, at_step: 800}, seeds: 2}\n"
    plan = make_plan(parse_spec(text))
    forks = [run for run in plan.runs if run.config.arm == "fork"]
    row = {"outcome": "grokked", "grokked_step": 5000, "steps_run": 5000, "finished_at": NOON}
    outlook = outlook_of(plan, {forks[0].run_id: row})
    assert outlook.steps_done == 4200
    parents = sum(expected_steps(run.config) for run in plan.runs if run.config.arm == "free")
    assert outlook.steps_left - parents == pytest.approx(4200, rel=0.3)


def seen_of(runs: Sequence[PlannedRun], configs: Sequence[RunConfig], horizon: int) -> Seen:
    """What rows of these runs with this horizon say, by the cells of `configs`."""
    rows = trained(runs, strange, horizon)
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_cell.setdefault(run.cell_id, []).append(rows[run.run_id])
    values = []
    for k, config in enumerate(configs):
        grokked = [math.log(r["grokked_step"]) for r in by_cell[config.cell_id] if r["outcome"] == "grokked"]
        n_censored = len(by_cell[config.cell_id]) - len(grokked)
        mean = float(np.mean(grokked)) if grokked else 0.0
        values.append((len(grokked), mean, n_censored, math.log(horizon) if n_censored else 0.0, k))
    return Seen(*np.array(values, dtype=float).T)
