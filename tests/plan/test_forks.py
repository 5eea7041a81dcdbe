"""Forks in the plan: the parent is trained once, one stage earlier, in this sweep or as a stored run repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grok_sweeps.errors import SpecError
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.plan import PlannedRun
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.ancestry import stored_ancestry
from grok_sweeps.store.sweep import decode_plan, encode_plan


def plan_of(text: str, **options: Any) -> Plan:
    return make_plan(parse_spec(f"name: made\n{text}\n"), **options)


def forks(plan: Plan) -> list[PlannedRun]:
    return [run for run in plan.runs if run.config.fork_step is not None]


SAME_STATE = """
runs: {p: 7, seeds: 3, max_steps: 100, fork: {of: control, at_step: 20}}
blocks: [{arm: free}, {arm: fork, rho: [0.9, 1.0, 1.1]}]
"""


def test_the_arms_of_a_fork_share_one_parent_a_seed_which_trains_first() -> None:
    plan = plan_of(SAME_STATE)
    parents = [run for run in plan.runs if run.added]
    assert [(r.stage, r.config.arm, r.config.max_steps, r.config.stop) for r in parents] == [
        (0, "free", 20, "budget")
    ] * 3
    assert len(forks(plan)) == 4 * 3
    by_id = {run.run_id: run for run in plan.runs}
    for run in forks(plan):
        parent = by_id[plan.parents[run.run_id]]
        assert run.stage == 1
        assert (parent.config.seed, parent.cell_id) == (run.config.seed, run.config.fork_cell)
    assert len({run.cell_id for run in forks(plan)}) == 4, "a cell's runs differ in the seed only, parents or not"


def test_a_plan_with_forks_comes_back_from_the_store() -> None:
    plan = plan_of(SAME_STATE)
    stored = decode_plan(encode_plan(plan), "plan", "made")
    assert stored == plan
    assert stored.parents == plan.parents


def test_a_parent_that_the_spec_lists_itself_is_not_added_again() -> None:
    listed = plan_of(
        "runs: {p: 7, seeds: 2}\n"
        "blocks: [{max_steps: 20, stop: budget}, {max_steps: 100, fork: {of: control, at_step: 20}}]"
    )
    assert not any(run.added for run in listed.runs)
    assert len(listed.runs) == 4


def test_fork_steps_and_seeds_cross() -> None:
    plan = plan_of("runs: {p: 7, seeds: 2, max_steps: 100, fork: {of: control, at_step: [20, 40]}}")
    assert sorted((r.config.seed, r.config.fork_step) for r in forks(plan)) == [(0, 20), (0, 40), (1, 20), (1, 40)]
    assert sum(run.added for run in plan.runs) == 4


def test_a_fork_that_waits_for_w_c_comes_after_both_its_parent_and_the_control() -> None:
    plan = plan_of("runs: {p: 7, seeds: 2, max_steps: 100, arm: clamp, w_c: control, fork: {of: control, at_step: 20}}")
    assert {run.stage for run in forks(plan)} == {1}
    assert len(plan.controls) == 1
    assert {run.config.max_steps for run in plan.stage(0)} == {20, 100}


def test_the_temperature_and_interventions_of_the_arms_do_not_reach_the_control() -> None:
    plan = plan_of(
        "runs: {p: 7, seeds: 1, max_steps: 100, tau: [1.0, 2.0], gradient_compensation: [false, true], "
        "fork: {of: control, at_step: 20}}"
    )
    assert [run.config.tau for run in plan.runs if run.added] == [1.0]
    assert len(forks(plan)) == 4


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[str], SweepStore]:
    def make(text: str) -> SweepStore:
        spec = parse_spec(text)
        store = SweepStore(open_objects(str(tmp_path)), spec.name)
        store.create(text, make_plan(spec, stored_ancestry(store.objects)))
        return store

    return make


OLD = "name: old\nruns: {p: 7, seeds: 2, arm: clamp, w_c: 5.0, rho: 1.1, tau: 1.3, lr: 0.01, max_steps: 100}\n"


def test_a_fork_of_a_stored_run_has_its_values_with_what_the_spec_writes_laid_over_them(
    stored: Callable[[str], SweepStore],
) -> None:
    store = stored(OLD)
    parent = make_plan(parse_spec(OLD)).runs[1]
    text = f"runs: {{tau: [1.3, 2.0], fork: {{of: old/{parent.run_id}, at_step: 40}}}}"
    plan = plan_of(text, ancestry=stored_ancestry(store.objects))
    (repeated,) = (run for run in plan.runs if run.added)
    assert repeated.origin == f"old/{parent.run_id}"
    assert repeated.config == replace(parent.config, max_steps=40, stop="budget")
    for run, tau in zip(forks(plan), (1.3, 2.0), strict=True):
        config = replace(run.config, fork_cell=None, fork_step=None)
        assert config == replace(parent.config, tau=tau)
    assert encode_plan(decode_plan(encode_plan(plan), "plan", "made")) == encode_plan(plan)


def test_a_fork_of_a_fork_brings_its_whole_line(stored: Callable[[str], SweepStore]) -> None:
    first = stored("name: first\nruns: {p: 7, seeds: 1, max_steps: 100, fork: {of: control, at_step: 20}}\n")
    run = forks(first.load_plan())[0]  # type: ignore[arg-type]
    plan = plan_of(
        f"runs: {{tau: 2.0, fork: {{of: first/{run.run_id}, at_step: 60}}}}", ancestry=stored_ancestry(first.objects)
    )
    assert [(r.stage, r.config.max_steps, r.config.fork_step) for r in plan.runs] == [
        (0, 20, None), (1, 60, 20), (2, 100, 60)
    ]  # fmt: skip
    assert [plan.parents.get(r.run_id) for r in plan.runs] == [None, plan.runs[0].run_id, plan.runs[1].run_id]


def test_a_stored_parent_with_a_resolved_control_means_the_same_in_another_sweep(
    stored: Callable[[str], SweepStore],
) -> None:
    store = stored("name: old\nruns: {p: 7, seeds: 1, arm: allocation, w_c: control, gamma: 0.3, max_steps: 100}\n")
    plan = store.load_plan()
    assert plan is not None
    run = plan.runs[-1]
    reference = f"old/{run.run_id}"
    with pytest.raises(SpecError, match=r"fork\.of: sweep 'old' has not resolved its w_c yet"):
        stored_ancestry(store.objects)(reference)
    shares = {"share_embedding": 0.4, "share_hidden": 0.8, "share_readout": 0.447213595499958}
    store.create_calibration({run.config.control_id or "": {"w_c": 12.5, **shares}})
    (ancestor,) = stored_ancestry(store.objects)(reference)
    assert ancestor.config == replace(run.config, control_id=None, w_c=12.5, **shares)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("fork: {of: nowhere/RUN, at_step: 40}", r"fork\.of: no sweep 'nowhere' in .*, which 'nowhere/"),
        ("fork: {of: old/ffffffffffffffff, at_step: 40}", r"fork\.of: sweep 'old' has no run 'ffffffffffffffff'"),
        (
            "p: 11, fork: {of: old/RUN, at_step: 40}",
            r"runs\.p: a fork of a run has its parent's p, \[7\]; leave it out",
        ),
        ("seeds: 3, fork: {of: old/RUN, at_step: 40}", r"runs\.seeds: a fork of a run has its parent's seeds, \[1\]"),
        ("dtype: float64, fork: {of: old/RUN, at_step: 40}", r"runs\.dtype: a fork of a run has its parent's dtype"),
        (
            "fork: {of: old/RUN, at_step: 100}",
            r"runs\.fork\.at_step: 100 is not between .* raise max_steps \(now 100\)",
        ),
    ],
)
def test_a_fork_that_cannot_be_is_one_clear_line(axes: str, message: str, stored: Callable[[str], SweepStore]) -> None:
    store = stored(OLD)
    axes = axes.replace("RUN", make_plan(parse_spec(OLD)).runs[1].run_id)
    with pytest.raises(SpecError, match=message):
        plan_of(f"runs: {{{axes}}}", ancestry=stored_ancestry(store.objects))
