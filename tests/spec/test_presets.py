"""Shipped presets load, plan, and train what the paper did."""

from __future__ import annotations

from math import prod

import pytest
import yaml

from grok_sweeps.plan import make_plan
from grok_sweeps.spec import load_spec, preset_names

SEEDS = 12
MODULI = 2
COLLAPSE_CELLS = 4 * 3
MEDIATION_CLAMPED_CELLS = 1 + 5

PAPER_RUNS = {
    "paper/collapse": MODULI * COLLAPSE_CELLS * SEEDS,
    "paper/collapse-control": MODULI * (1 + COLLAPSE_CELLS) * SEEDS,
    "paper/mediation": MODULI * (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
    "paper/mediation-control": MODULI * (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_plans_and_says_what_it_is(name: str) -> None:
    spec, _ = load_spec(name)
    assert make_plan(spec).runs
    assert spec.description
    assert spec.name == name.replace("/", "-")


@pytest.mark.parametrize(("name", "runs"), PAPER_RUNS.items())
def test_a_paper_preset_has_the_papers_runs(name: str, runs: int) -> None:
    plan = make_plan(load_spec(name)[0])
    assert len(plan.runs) == runs
    assert {r.config.p for r in plan.runs} == {59, 97}
    assert {r.config.seeds_in_block for r in plan.runs} == {SEEDS}


def test_every_paper_preset_is_counted_here() -> None:
    assert {name for name in preset_names() if name.startswith("paper/")} == set(PAPER_RUNS)


def test_the_collapse_and_mediation_sizes_are_the_documented_ones() -> None:
    assert (PAPER_RUNS["paper/collapse"], PAPER_RUNS["paper/mediation"]) == (288, 168)


@pytest.mark.parametrize("name", ["paper/collapse", "paper/mediation"])
def test_a_paper_preset_pins_the_published_norms_and_has_one_stage(name: str) -> None:
    plan = make_plan(load_spec(name)[0])
    pinned = {(r.config.p, r.config.w_c) for r in plan.runs if r.config.arm == "clamp"}
    assert pinned == {(59, 54.489295959472656), (97, 65.8533)}
    assert (plan.n_stages, plan.controls) == (1, {})


@pytest.mark.parametrize("name", ["paper/collapse-control", "paper/mediation-control"])
def test_a_control_preset_trains_its_controls_first(name: str) -> None:
    plan = make_plan(load_spec(name)[0])
    assert plan.n_stages == 2
    assert {r.config.arm for r in plan.stage(0)} == {"free"}
    assert len(plan.stage(0)) == MODULI * SEEDS
    assert len(plan.controls) == MODULI


def test_the_quickstart_is_the_grid_its_file_writes() -> None:
    spec, text = load_spec("quickstart")
    written = yaml.safe_load(text)["runs"]
    plan = make_plan(spec)
    axes = {name: value for name, value in written.items() if isinstance(value, list)}
    listed = [r for r in plan.runs if not r.added]
    assert len(listed) == prod(len(values) for values in axes.values()) * written["seeds"]
    for name, values in axes.items():
        assert {getattr(r.config, name) for r in listed} == set(values)
    assert {r.config.max_steps for r in plan.runs} == {written["max_steps"]}
