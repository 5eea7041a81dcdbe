"""Shipped presets load, plan, and train what the paper did."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from math import prod
from pathlib import Path

import pytest
import yaml

from grok_sweeps.config import RunConfig
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
    "paper/dose": DOSES * (2 * 16 + 3 * 8) + 5 * 3 * 8,  # and five weight decays of a free norm at three moduli
    "paper/mediation-ce": MODULI * (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
    "paper/mediation-mse": MODULI * MEDIATION_CLAMPED_CELLS * SEEDS,
    "paper/collapse": MODULI * COLLAPSE_CELLS * SEEDS,
    "paper/allocation": MODULI * (1 + ALLOCATION_CELLS) * SEEDS,
    "paper/same-state": MODULI * (SAME_STATE_ARMS + 1) * SEEDS,  # and the parents
    "paper/transformer": (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
    "paper/float64-audit": 2 * 2 * 8,
}
SHARED = MODULI * SEEDS
"""The control, which the mediation and the allocation have in common."""
TWICE = MODULI * SEEDS
"""Runs that the paper released twice under squared error: as baseline and in the control's place."""

PAPER_RUNS = {
    **JOINED,
    "paper/collapse-control": MODULI * (1 + COLLAPSE_CELLS) * SEEDS,
    "paper/mediation-ce-control": MODULI * (1 + MEDIATION_CLAMPED_CELLS) * SEEDS,
    "paper/all": sum(JOINED.values()) - SHARED,
}

RUN_IDS = {
    "paper/all": (1580, "e5fa45db1d1e0b5c"),
    "paper/allocation": (144, "c804ac20b0caa19b"),
    "paper/collapse": (288, "58efa7b1926ec652"),
    "paper/collapse-control": (312, "7c591964a228e690"),
    "paper/dose": (624, "94621238bb7166f9"),
    "paper/float64-audit": (32, "fe1a230d97897318"),
    "paper/mediation-ce": (168, "f0251b53b51121b0"),
    "paper/mediation-ce-control": (168, "bda8391b1f623f82"),
    "paper/mediation-mse": (144, "e06e5b6f2ff6f408"),
    "paper/same-state": (120, "179ba27a5f5b3797"),
    "paper/transformer": (84, "5fbdc5ebbf81e55b"),
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
    audited = JOINED["paper/float64-audit"]
    assert len(everything.runs) - len(parents) - audited == N_RELEASED - TWICE - SHARED


RELEASED = Path(__file__).parents[1] / "fidelity" / "released_cells.csv"
"""The settings of every cell whose runs the paper released."""
EXPERIMENTS = {
    "dose": ["dose"],
    "mediation": ["mediation-ce", "mediation-mse"],
    "collapse": ["collapse"],
    "alloc": ["allocation"],
    "samestate": ["same-state"],
    "transformer": ["transformer"],
}
N_RELEASED = 1572
ARM_OF = {"none": "free", "alloc": "allocation", "clamp_same": "fork", "clamp_raised": "fork", "clamp_lowered": "fork"}
FORK_DOSES = {"clamp_same": 1.0, "clamp_raised": 1.15, "clamp_lowered": 0.8695652173913043}


def released(row: dict[str, str]) -> tuple[object, ...]:
    """A released cell as `trained` gives ours."""
    arm = ARM_OF.get(row["arm"], row["arm"])
    dosed = {"clamp": float(row["rho"]), "fork": FORK_DOSES.get(row["arm"]), "allocation": 1.0}
    arch = {"tfnoln": "transformer_no_layernorm"}.get(row["arch"], row["arch"])
    held = arm in ("clamp", "allocation")
    p = int(row["p"])
    same = (p, arch, row["loss"], arm, dosed.get(arm), float(row["tau"]), float(row["weight_decay"]))
    return (
        *same,
        float(row["gamma"]) if arm == "allocation" else None,
        float(row["w_c"]) if held else None,
        int(row["clamp_from_step"]) if held else None,
        int(row["fork_step"]) if row["fork_step"] else None,
        int(row["max_steps"]) if row["max_steps"] else None,
        (float(row["lr"]), int(row["d_model"]), int(row["n_train"] or 0.4 * p**2), int(row["seeds"])),
    )


def trained(config: RunConfig) -> tuple[object, ...]:
    """What decides the numbers of our cell, without the seed."""
    same = (config.p, config.arch, config.loss, config.arm, config.rho, config.tau, config.weight_decay)
    budget = None if config.fork_step else config.max_steps  # of forks none was released
    return (
        *same,
        config.gamma,
        config.w_c,
        config.clamp_from_step if config.arm in ("clamp", "allocation") else None,
        config.fork_step,
        budget,
        (config.lr, config.d_model, config.n_train, config.seeds_in_block),
    )


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_papers_presets_train_what_was_released_and_nothing_else(experiment: str) -> None:
    rows = [row for row in csv.DictReader(RELEASED.read_text().splitlines()) if row["experiment"] == experiment]
    plans = [make_plan(load_spec(f"paper/{name}")[0]) for name in EXPERIMENTS[experiment]]
    ours = Counter(trained(run.config) for plan in plans for run in plan.runs if not run.added)
    assert set(ours) == {released(row) for row in rows}
    assert all(n == cell[-1][-1] for cell, n in ours.items()), "every seed of its block"  # type: ignore[index]


def test_every_released_run_is_of_an_experiment_that_a_preset_trains() -> None:
    rows = list(csv.DictReader(RELEASED.read_text().splitlines()))
    assert {row["experiment"] for row in rows} == set(EXPERIMENTS)
    assert sum(int(row["seeds"]) for row in rows) == N_RELEASED


@pytest.mark.parametrize("name", ["paper/mediation-ce", "paper/collapse", "paper/allocation", "paper/same-state"])
def test_seeded_presets_draw_the_papers_weights(name: str) -> None:
    plan = make_plan(load_spec(name)[0])
    assert {r.config.p for r in plan.runs} == {59, 97}
    assert {(r.config.seeding, r.config.seeds_in_block) for r in plan.runs} == {("paper", SEEDS)}


PINNED = {
    "paper/collapse": {(59, 54.489295959472656), (97, 65.85334777832031)},
    "paper/mediation-ce": {(59, 54.489295959472656), (97, 65.85334777832031)},
    "paper/allocation": {(59, 54.489295959472656), (97, 65.85334777832031)},
    "paper/mediation-mse": {(59, 36.495811462402344), (97, 36.61406326293945)},
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
