"""Identities are for ever: a store of an earlier release must be found again by a later one."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from plan_specs import plan_of

from grok_sweeps.config import Identities, RunConfig, canonical_json, control_id_of, run_config_from_dict

FREE = RunConfig(
    p=59,
    train_fraction=0.4,
    d_model=128,
    hidden=256,
    lr=1e-3,
    weight_decay=1.0,
    arm="free",
    tau=1.0,
    seed=0,
    seeding="run",
    max_steps=60_000,
    eval_every=25,
)
PINNED = replace(FREE, arm="clamp", rho=1.15, tau=1.3, w_c=54.489295959472656, clamp_from_step=500, seed=11)
PAPER = replace(PINNED, seeding="paper", seeds_in_block=12, p=97, w_c=65.8533, max_steps=40_000)
WAITING = replace(FREE, arm="clamp", rho=1.05, control_id="0123456789abcdef", clamp_from_step=500)

GOLDEN = {
    "free": (FREE, "4f591c5eaa688230", "b683487b7210993f"),
    "pinned": (PINNED, "b13fe80fe3295373", "aad7c18a74947dfb"),
    "paper": (PAPER, "c3b319cd02a69a92", "b3b08578a1ab080b"),
    "waiting": (WAITING, "2c1409add00fb4e3", "32e779811826eb11"),
}


@pytest.mark.parametrize(("config", "run_id", "cell_id"), GOLDEN.values(), ids=GOLDEN.keys())
def test_an_identity_never_moves(config: RunConfig, run_id: str, cell_id: str) -> None:
    assert (config.run_id, config.cell_id) == (run_id, cell_id)


@pytest.mark.parametrize(
    "config", [c for c, _, _ in GOLDEN.values()] + [replace(FREE, fork_cell='"seed":0', fork_step=8)]
)
def test_ids_of_many_runs_are_those_of_each(config: RunConfig) -> None:
    identities = Identities()
    for seed in (0, 7, 2**31 - 1):
        run = replace(config, seed=seed)
        assert identities.of(run) == (run.run_id, run.cell_id)


def test_the_identity_of_a_control_never_moves() -> None:
    assert control_id_of(["b", "a"]) == control_id_of(["a", "b"]) == "835fa4260912da76"


OTHER = {
    "p": 61, "train_fraction": 0.5, "d_model": 64, "hidden": 64, "lr": 2e-3, "weight_decay": 0.5, "arm": "other",
    "tau": 1.5, "seed": 1, "seeding": "paper", "max_steps": 1, "eval_every": 50, "rho": 2.0, "w_c": 1.0,
    "control_id": "other", "clamp_from_step": 50, "seeds_in_block": 3, "arch": "other", "task": "sub", "loss": "mse",
    "optimizer": "sgd", "dtype": "float64", "heads": 2, "momentum": 0.5, "batch_size": 64, "normalizer": "stablemax",
    "label_smoothing": 0.1, "logit_penalty": 0.1, "gradient_compensation": True, "gradient_projection": "orthogonal",
    "gamma": 0.3, "share_embedding": 0.4, "share_hidden": 0.8, "share_readout": 0.4, "fork_cell": "other",
    "fork_step": 800, "stop": "budget", "arch_version": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", [f.name for f in fields(RunConfig)])
def test_every_field_decides_the_identity(name: str) -> None:
    changed = replace(PINNED, **{name: OTHER[name]})
    assert changed.run_id != PINNED.run_id
    assert (changed.cell_id == PINNED.cell_id) == (name == "seed")


def test_the_free_arm_has_no_dose() -> None:
    runs = plan_of([{"arm": ["free", "clamp"], "w_c": [5.0], "rho": [1.0, 1.1, 1.2], "seeds": 2}]).runs
    free = [r.config for r in runs if r.config.arm == "free"]
    assert [(c.rho, c.w_c, c.clamp_from_step, c.seed) for c in free] == [(None, None, None, 0), (None, None, None, 1)]
    assert len(runs) == 2 + 3 * 2


def test_a_control_that_the_spec_lists_is_not_added_again() -> None:
    alone = plan_of([{"arm": ["clamp"], "w_c": ["control"], "seeds": 3}])
    listed = plan_of([{"arm": ["free"], "seeds": 3}, {"arm": ["clamp"], "w_c": ["control"], "seeds": 3}])
    assert alone.run_ids() == listed.run_ids()
    assert sum(r.added for r in alone.runs) == 3
    assert not any(r.added for r in listed.runs)


def test_a_config_comes_back_from_its_columns_and_ignores_others() -> None:
    assert run_config_from_dict({**PAPER.to_dict(), "outcome": "grokked"}) == PAPER


def test_canonical_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"tau": float("nan")})
