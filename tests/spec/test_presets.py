"""Shipped presets load, plan, and train what the paper did."""

from __future__ import annotations

import hashlib
from math import prod

import pytest
import yaml

from grok_sweeps.plan import make_plan
from grok_sweeps.spec import load_spec, preset_names

SEEDS = 12
MODULI = 2
COLLAPSE_CELLS = 4 * 3
MEDIATION_CLAMPED_CELLS = 1 + 5

ALLOCATION_CELLS = 5
DOSES = 9
SAME_STATE_ARMS = 4

JOINED = {
    "paper/dose": (DOSES + 1) * (4 * 16 + 8),
    "paper/mediation-ce": MODULI * (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
    "paper/mediation-mse": MODULI * (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
    "paper/collapse": MODULI * COLLAPSE_CELLS * SEEDS,
    "paper/allocation": MODULI * ALLOCATION_CELLS * SEEDS,
    "paper/same-state": MODULI * (SAME_STATE_ARMS + 1) * SEEDS,  # and the parents
    "paper/transformer": (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
    "paper/float64-audit": 2 * 2 * 8,
}
SHARED = MODULI * 4 * SEEDS
"""Cells of the collapse grid that are mediation cells too: (1, 1) and rho = 1.15 at tau 1, 1.3 and 1.7."""

PAPER_RUNS = {
    **JOINED,
    "paper/collapse-control": MODULI * (1 + COLLAPSE_CELLS) * SEEDS,
    "paper/mediation-ce-control": MODULI * (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
    "paper/all": sum(JOINED.values()) - SHARED,
}

RUN_IDS = {
    "paper/all": (1604, "e7f6c022bfe51646"),
    "paper/allocation": (120, "494d21357551254a"),
    "paper/collapse": (288, "0c2697f3379562dc"),
    "paper/collapse-control": (312, "7c591964a228e690"),
    "paper/dose": (720, "6a97c98bd04e200b"),
    "paper/float64-audit": (32, "fe1a230d97897318"),
    "paper/mediation-ce": (168, "3d4d559d26193b67"),
    "paper/mediation-ce-control": (168, "bda8391b1f623f82"),
    "paper/mediation-mse": (168, "ea5bb9e15231f833"),
    "paper/same-state": (120, "179ba27a5f5b3797"),
    "paper/transformer": (84, "c8d4fb5756d5bb53"),
    "quickstart": (21, "1c79dc4e0815a3aa"),
}
"""Number of runs, and hash of their sorted run ids: whoever trained a preset must find its runs again.

An id is of the spec alone, and a change here makes every store of that preset a sweep of other runs.
"""


@pytest.mark.parametrize("name", preset_names())
def test_the_run_ids_of_a_preset_never_move(name: str) -> None:
    run_ids = sorted(make_plan(load_spec(name)[0]).run_ids())
    assert (len(run_ids), hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:16]) == RUN_IDS[name]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_plans_and_says_what_it_is(name: str) -> None:
    spec, _ = load_spec(name)
    assert make_plan(spec).runs
    assert spec.description
    assert spec.name == name.replace("/", "-")


@pytest.mark.parametrize(("name", "runs"), PAPER_RUNS.items())
def test_a_paper_preset_has_the_papers_runs(name: str, runs: int) -> None:
    assert len(make_plan(load_spec(name)[0]).runs) == runs


def test_every_paper_preset_is_counted_here() -> None:
    assert {name for name in preset_names() if name.startswith("paper/")} == set(PAPER_RUNS)


def test_all_joins_the_papers_experiments_and_trains_what_they_share_once() -> None:
    union = frozenset[str]().union(*(make_plan(load_spec(name)[0]).run_ids() for name in JOINED))
    everything = make_plan(load_spec("paper/all")[0])
    assert everything.run_ids() == union
    parents = set(everything.parents.values())
    assert len(everything.runs) - len(parents) == 1580


@pytest.mark.parametrize("name", ["paper/mediation-ce", "paper/collapse", "paper/allocation", "paper/same-state"])
def test_seeded_presets_draw_the_papers_weights(name: str) -> None:
    plan = make_plan(load_spec(name)[0])
    assert {r.config.p for r in plan.runs} == {59, 97}
    assert {(r.config.seeding, r.config.seeds_in_block) for r in plan.runs} == {("paper", SEEDS)}


PINNED = {
    "paper/collapse": {(59, 54.489295959472656), (97, 65.8533)},
    "paper/mediation-ce": {(59, 54.489295959472656), (97, 65.8533)},
    "paper/allocation": {(59, 54.489295959472656), (97, 65.8533)},
    "paper/transformer": {(59, 32.49241638183594)},
    "paper/float64-audit": {(59, 54.25865173339844)},
}


@pytest.mark.parametrize("name", PINNED)
def test_a_paper_preset_pins_the_published_norms_and_has_one_stage(name: str) -> None:
    plan = make_plan(load_spec(name)[0])
    assert {(r.config.p, r.config.w_c) for r in plan.runs if r.config.arm != "free"} == PINNED[name]
    assert (plan.n_stages, plan.controls) == (1, {})


CONTROLLED = {
    "paper/collapse-control": {59, 97},
    "paper/mediation-ce-control": {59, 97},
    "paper/mediation-mse": {97},
    "paper/dose": {43, 67, 97, 113},
}


@pytest.mark.parametrize("name", CONTROLLED)
def test_a_preset_without_published_norms_trains_its_controls_first(name: str) -> None:
    plan = make_plan(load_spec(name)[0])
    assert plan.n_stages == 2
    waiting = plan.stage(1)
    assert {r.config.p for r in waiting} == CONTROLLED[name]
    assert all(r.config.control_id in plan.controls for r in waiting)
    first = {r.run_id: r.config for r in plan.stage(0)}
    assert {first[run].arm for members in plan.controls.values() for run in members} == {"free"}


def test_the_same_state_arms_start_from_one_parent_a_seed() -> None:
    plan = make_plan(load_spec("paper/same-state")[0])
    arms = [r for r in plan.runs if r.config.fork_step is not None]
    assert {(r.config.arm, r.config.rho) for r in arms} == {
        ("free", None), ("fork", 1.0), ("fork", 1.15), ("fork", 0.8695652173913043)
    }  # fmt: skip
    by_id = {r.run_id: r for r in plan.runs}
    for arm in arms:
        parent = by_id[plan.parents[arm.run_id]]
        assert (parent.stage, arm.stage) == (0, 1)
        assert (parent.config.seed, parent.config.p) == (arm.config.seed, arm.config.p)
        assert (parent.config.arm, parent.config.max_steps, parent.config.stop) == ("free", 800, "budget")


def test_the_papers_own_values_are_the_defaults_of_loss_and_architecture() -> None:
    mse = make_plan(load_spec("paper/mediation-mse")[0]).runs[-1].config
    assert (mse.loss, mse.clamp_from_step, mse.lr, mse.hidden) == ("mse", 50, 1e-3, 256)
    transformer = make_plan(load_spec("paper/transformer")[0]).runs[-1].config
    assert (transformer.clamp_from_step, transformer.lr, transformer.hidden, transformer.heads) == (600, 5e-4, 512, 4)


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
