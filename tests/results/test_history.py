"""A plan is foreseen from the finished sweeps of the store, and its devices' rates are read off their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from results_rows import NOON, full_row

from grok_sweeps.cluster.costs import cost_lines, plan_cost
from grok_sweeps.errors import SpecError
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.estimate import expected_steps
from grok_sweeps.plan.rates import Pool
from grok_sweeps.results import Store, open_store
from grok_sweeps.results.history import foresee, measured_rates
from grok_sweeps.schema import CURVES_SCHEMA
from grok_sweeps.spec import parse_spec
from grok_sweeps.spec.model import Execution
from grok_sweeps.store import SweepStore
from tests.written import write_results

H100 = {"device": "cuda:0", "device_name": "NVIDIA H100 80GB HBM3", "gpu_share": 1.0}


def spec(name: str, **axes: Any) -> str:
    runs = {"arm": "clamp", "rho": [1.0, 1.1], "tau": [1.0, 1.5], "w_c": 54.5, "seeds": 2, **axes}
    return f"name: {name}\nruns: {{{', '.join(f'{k}: {v}' for k, v in runs.items())}}}\n"


def finished(store: Store, text: str, times: float = 3.0, leave: int = 0, **values: Any) -> Plan:
    """Put a sweep into the store whose runs took `times` what the rule says, the last `leave` not finished."""
    plan = make_plan(parse_spec(text))
    sweep = SweepStore(store.objects, plan.sweep)
    sweep.create(text, plan)
    rows = []
    for run in plan.runs[: len(plan.runs) - leave]:
        step = round(times * expected_steps(run.config))
        ended = {"outcome": "grokked", "grokked_step": step, "steps_run": step, "wall_s": step / 100}
        ids = {"sweep": plan.sweep, "cell_id": run.cell_id, "finished_at": NOON, "attempt": plan.sweep}
        rows.append(full_row(run.run_id, **{**run.config.to_dict(), **ids, **ended, **values}))
    write_results(sweep, "pack", plan.sweep, 1, rows, [CURVES_SCHEMA.empty_table()])
    return plan


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_a_plan_is_foreseen_from_finished_sweeps_of_the_same_kind(store: Store) -> None:
    plan = make_plan(parse_spec(spec("next", rho="[1.05, 1.15]")))
    rule = tuple(expected_steps(run.config) for run in plan.runs)
    assert foresee(plan, store).steps == rule, "an empty store"
    finished(store, spec("other", optimizer="sgd"))
    finished(store, spec("under-way"), leave=1)
    unlearned = foresee(plan, store)
    assert (unlearned.steps, unlearned.n_cells, unlearned.accuracy) == (rule, 0, None)
    finished(store, spec("before"))
    learned = foresee(plan, store)
    assert learned.n_cells == 4
    assert learned.accuracy is not None
    assert sum(learned.steps) == pytest.approx(3 * sum(rule), rel=0.15)


def test_rates_are_run_steps_over_the_workers_time(store: Store) -> None:
    finished(store, spec("trained"), **H100)
    measured = measured_rates(store)
    assert len(measured) == 4, "one a cell"
    for one in measured:
        assert one.run_steps / one.wall_s == pytest.approx(100)
        assert (one.device, one.device_name, one.share, one.n_rows) == ("cuda:0", H100["device_name"], 1.0, 2)
        assert one.config.p == 59


def test_lines_say_hours_time_and_price_of_a_pool_that_has_rows(store: Store) -> None:
    plan = finished(store, spec("trained", max_steps=1_000_000), **H100)
    on_two = plan_cost(plan, Execution(), store, Pool(2, "H100"))
    steps = sum(on_two.foreseen.steps)
    assert on_two.cost.device_hours == pytest.approx(steps / 100 / 3600)
    lines = dict(line.split(": ", 1) for line in cost_lines(plan, Pool(2, "H100"), Execution(), store, price=2.5))
    assert lines["run-steps"].startswith(f"about {steps:,}, learned from the store")
    assert lines["GPU-hours"].startswith(
        f"about {steps / 360_000:.2f}, at the rates of 8 rows of the store on NVIDIA H100"
    )
    assert lines["price"].startswith(f"about ${2.5 * steps / 360_000:,.2f} for the GPU-hours, $")
    assert on_two.cost.wall_s is not None
    assert on_two.cost.wall_s >= on_two.cost.device_hours * 3600 / 2


def test_lines_say_that_no_rate_is_known_and_what_to_do(store: Store) -> None:
    plan = make_plan(parse_spec(spec("next")))
    lines = cost_lines(plan, Pool(8, "H100"), Execution(), store, price=2.5)
    assert lines[1:] == [
        "GPU-hours: not known: no rate measured on H100 yet; --step-rate gives one, or train a first pack there",
        "time: not known",
    ]
    given = cost_lines(plan, Pool(8, "H100"), Execution(), store, step_rate=1000.0)
    assert "at 1,000 run-steps/s a GPU, as given" in given[1]


@pytest.mark.parametrize(("device", "pool"), [("cpu", Pool(8, "H100")), ("cuda", Pool(8, "cpu"))])
def test_a_device_that_the_pool_has_not_is_refused(device: Any, pool: Pool, store: Store) -> None:
    plan = make_plan(parse_spec(spec("next")))
    with pytest.raises(SpecError, match=f"'{device}' does not train on --cluster 8x{pool.kind}; use --set"):
        cost_lines(plan, pool, Execution(device=device), store)
