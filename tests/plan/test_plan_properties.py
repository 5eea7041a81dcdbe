"""Whatever the axes, a plan holds every run once, in its stage, under the same identity."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from plan_specs import BLOCKS, CONTROLLED, FREE, PINNED, Axes, plan_of

from grok_sweeps.config import RunConfig, control_id_of
from grok_sweeps.plan import Plan, PlannedRun
from grok_sweeps.store.sweep import decode_plan, encode_plan

few = settings(max_examples=60)


def _configs(plan: Plan) -> list[RunConfig]:
    return [r.config for r in plan.runs]


@few
@given(BLOCKS)
def test_every_run_is_planned_exactly_once(blocks: list[Axes]) -> None:
    plan = plan_of(blocks)
    assert len({r.run_id for r in plan.runs}) == len(plan.runs)
    assert len(set(_configs(plan))) == len(plan.runs)


@few
@given(PINNED)
def test_a_plan_is_the_product_of_its_axes(block: Axes) -> None:
    seeds = block.get("seeds", 12)
    clamped = set(
        product(
            block.get("p", [59]),
            block.get("tau", [1.0]),
            block.get("lr", [1e-3]),
            block.get("max_steps", [60_000]),
            block.get("rho", [1.0]),
            block["w_c"],
            block.get("clamp_from_step", [500]),
            range(seeds) if isinstance(seeds, int) else seeds,
        )
    )
    planned = [c for c in _configs(plan_of([block])) if c.arm == "clamp"]
    written = [(c.p, c.tau, c.lr, c.max_steps, c.rho, c.w_c, c.clamp_from_step, c.seed) for c in planned]
    assert len(written) == len(clamped)
    assert set(written) == clamped


@few
@given(BLOCKS)
def test_equal_specs_give_equal_plans(blocks: list[Axes]) -> None:
    assert plan_of(blocks) == plan_of(blocks)


@few
@given(BLOCKS, st.integers(0, 99))
def test_the_order_of_blocks_keys_and_values_changes_no_run(blocks: list[Axes], order: int) -> None:
    shuffler = random.Random(order)

    def shuffled(items: list[Any]) -> list[Any]:
        return shuffler.sample(items, len(items))

    other = [
        {key: shuffled(block[key]) if isinstance(block[key], list) else block[key] for key in shuffled(list(block))}
        for block in shuffled(blocks)
    ]
    one, two = plan_of(blocks), plan_of(other)
    assert one.run_ids() == two.run_ids()
    assert {r.run_id: r.stage for r in one.runs} == {r.run_id: r.stage for r in two.runs}
    assert {k: set(v) for k, v in one.controls.items()} == {k: set(v) for k, v in two.controls.items()}


@few
@given(BLOCKS)
def test_ids_tell_configs_and_cells_apart(blocks: list[Axes]) -> None:
    runs = plan_of(blocks).runs
    assert [r.run_id for r in runs] == [r.config.run_id for r in runs]
    assert [r.cell_id for r in runs] == [r.config.cell_id for r in runs]
    cells = {(r.cell_id, r.config.seed) for r in runs}
    assert len(cells) == len(runs), "runs of one cell differ in the seed"


@few
@given(BLOCKS)
def test_blocks_that_overlap_are_joined(blocks: list[Axes]) -> None:
    once, again = plan_of(blocks), plan_of([*blocks, *blocks])
    assert once == again


@few
@given(FREE, FREE)
def test_joining_blocks_is_the_union_of_their_runs(one: Axes, two: Axes) -> None:
    assert plan_of([one, two]).run_ids() == plan_of([one]).run_ids() | plan_of([two]).run_ids()


@few
@given(PINNED)
def test_a_pinned_norm_needs_one_stage_and_adds_no_run(block: Axes) -> None:
    plan = plan_of([block])
    assert plan.n_stages == 1
    assert plan.controls == {}
    assert not any(r.added for r in plan.runs)


@few
@given(st.lists(CONTROLLED, min_size=1, max_size=2))
def test_a_dose_run_waits_for_its_control_over_exactly_its_familys_seeds(blocks: list[Axes]) -> None:
    plan = plan_of(blocks)
    stage_0 = {r.run_id: r.config for r in plan.stage(0)}
    waiting: dict[str, list[PlannedRun]] = {}
    for run in plan.stage(1):
        assert run.config.control_id is not None
        assert run.config.w_c is None
        waiting.setdefault(run.config.control_id, []).append(run)
    assert set(waiting) == set(plan.controls)
    for control_id, runs in waiting.items():
        members = plan.controls[control_id]
        assert control_id == control_id_of(members)
        controls = [stage_0[run_id] for run_id in members]
        assert {(c.arm, c.tau) for c in controls} == {("free", 1.0)}
        assert {c.seed for c in controls} == {r.config.seed for r in runs}
        assert {(c.p, c.lr) for c in controls} == {(r.config.p, r.config.lr) for r in runs}
        assert {c.max_steps for c in controls} == {max(r.config.max_steps for r in runs)}


@few
@given(BLOCKS)
def test_a_plan_survives_its_file(blocks: list[Axes]) -> None:
    plan = plan_of(blocks)
    assert decode_plan(encode_plan(plan), "made/plan.parquet", "made") == plan
