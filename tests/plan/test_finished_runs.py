"""Runs that end are counted one by one; the figures are those of a count of all rows at once, to the digit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_sweeps.config import RunConfig
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.estimate import steps_of
from grok_sweeps.plan.finished_runs import FinishedRuns
from grok_sweeps.plan.forecast import Outlook
from grok_sweeps.plan.learned import DelayLaw, Seen
from grok_sweeps.schema import OUTCOMES
from grok_sweeps.spec import parse_spec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Rows = Mapping[str, Mapping[str, Any]]

SPEC = """
name: mixed
runs: {seeds: 3}
blocks:
  - {p: [59, 97], arm: clamp, rho: [1.0, 1.1], tau: [1.0, 1.5], w_c: control}
  - {p: 59, arm: fork, rho: [1.0, 1.1], fork: {of: control, at_step: 800}}
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    plan = make_plan(parse_spec(SPEC))
    assert plan.n_stages > 1
    return plan


def row_of(rng: random.Random) -> dict[str, Any]:
    step = rng.randint(800, 30_000)
    outcome = rng.choices(OUTCOMES, (6, 2, 1, 1))[0]
    return {
        "outcome": outcome,
        "steps_run": step,
        "grokked_step": step if outcome == "grokked" else None,
        "finished_at": NOON + timedelta(seconds=rng.randint(0, 10**6)),
        "error": rng.choice(["it burst", None]) if outcome == "failed" else None,
    }


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 60), looks=st.sets(st.integers(0, 60), max_size=6))
def test_runs_counted_one_by_one_give_the_figures_of_all_at_once(
    plan: Plan, seed: int, n: int, looks: set[int]
) -> None:
    """Rows come in any order, some in the place of another of their run, some of runs that the plan does not have."""
    rng = random.Random(seed)
    ids = [*(run.run_id for run in plan.runs), "foreign"]
    finished, rows, completed = FinishedRuns(plan), dict[str, dict[str, Any]](), list[str]()
    for k in range(n):
        new = {run_id: row_of(rng) for run_id in rng.sample(ids, rng.randint(1, 3))}
        rows.update(new)
        completed += [cell.config.cell_id for cell in finished.add(new)]
        if k in looks:
            assert figures(finished) == counted_at_once(plan, rows)
    assert figures(finished) == counted_at_once(plan, rows)
    assert figures(FinishedRuns(plan, rows)) == figures(finished)
    whole = Counter(run.cell_id for run in plan.runs) - Counter(r.cell_id for r in plan.runs if r.run_id in rows)
    assert sorted(completed) == sorted({run.cell_id for run in plan.runs} - whole.keys()), "each once"


def test_a_cell_is_completed_with_its_rows_in_the_order_of_the_plan(plan: Plan) -> None:
    cell = plan.runs[0].cell_id
    members = [run.run_id for run in plan.runs if run.cell_id == cell]
    rng = random.Random(1)
    rows = {run_id: row_of(rng) for run_id in members}
    finished = FinishedRuns(plan)
    *first, last = reversed(members)
    assert finished.add({run_id: rows[run_id] for run_id in first}) == []
    (completed,) = finished.add({last: rows[last]})
    assert completed.rows == tuple(rows[run_id] for run_id in members)
    assert finished.add({last: row_of(rng)}) == [], "it was completed before"


def figures(finished: FinishedRuns) -> dict[str, Any]:
    cells = [{k: v for k, v in asdict(cell).items() if k in ("p", "arm", "rho", "tau")} for cell in finished.cells]
    return {
        "outcomes": finished.outcomes,
        "stages": [(stage.stage, stage.runs, stage.finished) for stage in finished.stages],
        "cells": cells,
        "of cells": [(cell.runs, cell.finished, cell.grokked) for cell in finished.cells],
        "first error": finished.first_error,
        "outlook": finished.outlook,
    }


def counted_at_once(plan: Plan, rows: Rows) -> dict[str, Any]:
    """The same from all runs and rows, the plain way."""
    outcomes = Counter(rows[run.run_id]["outcome"] for run in plan.runs if run.run_id in rows)
    of_cell: dict[str, list[Any]] = {}
    for run in plan.runs:
        of_cell.setdefault(run.cell_id, []).append(run)
    ended = [[rows[run.run_id]["outcome"] for run in runs if run.run_id in rows] for runs in of_cell.values()]
    failed = [run.run_id for run in plan.runs if run.run_id in rows and rows[run.run_id]["outcome"] == "failed"]
    stages = [plan.stage(k) for k in range(plan.n_stages)]
    configs = [runs[0].config for runs in of_cell.values()]
    return {
        "outcomes": {name: outcomes[name] for name in OUTCOMES if outcomes[name]},
        "stages": [(k, len(runs), sum(run.run_id in rows for run in runs)) for k, runs in enumerate(stages)],
        "cells": [{"p": c.p, "arm": c.arm, "rho": c.rho, "tau": c.tau} for c in configs],
        "of cells": [
            (len(runs), len(found), found.count("grokked")) for runs, found in zip(of_cell.values(), ended, strict=True)
        ],
        "first error": f"run {failed[0]}: {rows[failed[0]]['error'] or 'no reason is known'}" if failed else None,
        "outlook": outlook_at_once(plan, rows),
    }


def outlook_at_once(plan: Plan, rows: Rows) -> Outlook:
    """The forecast from all rows."""
    first: dict[str, RunConfig] = {}
    for run in plan.runs:
        first.setdefault(run.cell_id, run.config)
    configs, number = list(first.values()), {cell_id: k for k, cell_id in enumerate(first)}
    cells = np.array([number[run.cell_id] for run in plan.runs])
    found = [rows.get(run.run_id) for run in plan.runs]
    at: dict[str, tuple[list[int], list[float]]] = {"grokked": ([], []), "censored": ([], [])}
    first_at = np.full(len(configs), np.inf)
    for cell, row in zip(cells.tolist(), found, strict=True):
        if row is not None and row["outcome"] in at:
            step = row["grokked_step" if row["outcome"] == "grokked" else "steps_run"]
            at[row["outcome"]][0].append(cell)
            at[row["outcome"]][1].append(log(step))
            first_at[cell] = min(first_at[cell], row["finished_at"].timestamp())
    means = []
    for where, values in at.values():
        count = np.bincount(where, minlength=len(configs)).astype(float)
        means += [count, np.bincount(where, weights=values, minlength=len(configs)) / np.maximum(count, 1.0)]
    seen, law = Seen(*means, first_at), DelayLaw(configs)
    foreseen = [steps_of(config, ln) for config, ln in zip(configs, law.fit(seen).tolist(), strict=True)]
    done = sum(
        row["steps_run"] - (run.config.fork_step or 0)
        for run, row in zip(plan.runs, found, strict=True)
        if row is not None and row["outcome"] != "failed"
    )
    left = sum(foreseen[cell] for cell, row in zip(cells.tolist(), found, strict=True) if row is None)
    return Outlook(done, left, law.accuracy(seen))
