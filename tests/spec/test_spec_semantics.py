"""What a valid spec means: lists are axes, blocks lie over runs, a count of seeds is a range."""

from __future__ import annotations

from pathlib import Path

import pytest

from grok_sweeps.config import RunConfig
from grok_sweeps.plan import make_plan
from grok_sweeps.spec import load_spec, parse_spec


def _configs(text: str) -> list[RunConfig]:
    return [run.config for run in make_plan(parse_spec(f"name: made\n{text}\n")).runs]


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "1.e-3", "+.1e-2", "0.001"])
def test_a_number_may_be_written_with_an_exponent(written: str) -> None:
    assert parse_spec(f"name: made\nruns: {{lr: {written}}}").runs.lr == (1e-3,)


def test_an_integer_stands_for_a_float_and_gives_the_same_run() -> None:
    whole = _configs("runs: {tau: 2, weight_decay: 1, seeds: 1}")
    exact = _configs("runs: {tau: 2.0, weight_decay: 1.0, seeds: 1}")
    assert [c.run_id for c in whole] == [c.run_id for c in exact]
    assert isinstance(whole[0].tau, float)


def test_a_list_is_an_axis_and_axes_cross() -> None:
    configs = _configs("runs: {p: [5, 7], tau: [1.0, 1.3], seeds: 3}")
    assert sorted((c.p, c.tau, c.seed) for c in configs) == [
        (p, tau, seed) for p in (5, 7) for tau in (1.0, 1.3) for seed in range(3)
    ]


def test_a_spec_without_runs_is_the_papers_free_cell() -> None:
    configs = _configs("")
    assert [c.seed for c in configs] == list(range(12))
    first = configs[0]
    assert (first.p, first.train_fraction, first.d_model, first.hidden) == (59, 0.4, 128, 256)
    assert (first.lr, first.weight_decay, first.arm, first.tau) == (1e-3, 1.0, "free", 1.0)
    assert (first.loss, first.dtype, first.eval_every, first.seeding) == ("ce", "float32", 25, "run")


def test_a_blocks_keys_replace_those_of_runs_and_the_rest_is_kept() -> None:
    configs = _configs("runs: {p: [5, 7], tau: [1.0, 1.3], seeds: 1}\nblocks: [{tau: 2.0}, {p: 11}]")
    assert [(c.p, c.tau) for c in configs] == [(5, 2.0), (7, 2.0), (11, 1.0), (11, 1.3)]


def test_with_blocks_runs_alone_is_not_trained() -> None:
    assert {c.p for c in _configs("runs: {p: 5, seeds: 1}\nblocks: [{p: 7}]")} == {7}


def test_a_key_of_runs_is_excused_from_a_free_block_beside_a_clamped_one() -> None:
    configs = _configs("runs: {rho: 1.1, w_c: 5.0, seeds: 1}\nblocks: [{arm: free}, {arm: clamp}]")
    assert [(c.arm, c.rho) for c in configs] == [("free", None), ("clamp", 1.1)]


def test_a_count_of_seeds_is_the_list_from_zero() -> None:
    assert _configs("runs: {seeds: 3}") == _configs("runs: {seeds: [0, 1, 2]}")
    assert [c.seed for c in _configs("runs: {seeds: [7, 3]}")] == [7, 3]


def test_paper_seeding_takes_its_block_from_the_count_or_from_its_own_key() -> None:
    counted = _configs("runs: {seeding: paper, seeds: 12}")
    named = _configs("runs: {seeding: paper, seeds: [4], seeds_in_block: 12}")
    assert {c.seeds_in_block for c in counted} == {12}
    assert named[0].run_id == counted[4].run_id
    assert {c.seeds_in_block for c in _configs("runs: {seeds: 12}")} == {None}


def test_execution_is_no_part_of_any_identity() -> None:
    plain = _configs("runs: {p: 5, seeds: 2}")
    tuned = _configs("runs: {p: 5, seeds: 2}\nexecution: {lanes: 7, workers: 3, device: cpu, checkpoint_every_s: 1}")
    assert [c.run_id for c in plain] == [c.run_id for c in tuned]


def test_a_spec_without_a_name_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "collapse-p59.yaml"
    path.write_text("runs: {p: 5}\n")
    spec, text = load_spec(str(path))
    assert spec.name == "collapse-p59"
    assert text == "runs: {p: 5}\n"


def test_a_file_of_the_folder_goes_before_a_preset_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quickstart").write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    assert load_spec("quickstart")[0].name == "mine"


def test_defaults_are_the_papers_for_the_architecture_and_the_loss() -> None:
    found = {
        (c.arch, c.loss): (c.lr, c.hidden, c.heads, c.clamp_from_step)
        for c in _configs(
            "runs: {arch: [mlp, transformer_no_layernorm], loss: [ce, mse], arm: clamp, w_c: 5.0, seeds: 1}"
        )
    }
    assert found == {
        ("mlp", "ce"): (1e-3, 256, None, 500),
        ("mlp", "mse"): (1e-3, 256, None, 50),
        ("transformer_no_layernorm", "ce"): (5e-4, 512, 4, 600),
        ("transformer_no_layernorm", "mse"): (5e-4, 512, 4, 50),
    }


def test_what_a_run_does_not_use_is_not_part_of_it() -> None:
    plain = _configs("runs: {seeds: 1}")
    crossed = _configs("runs: {optimizer: [adamw, sgd], momentum: [0.5, 0.9], arch: [mlp], seeds: 1}")
    assert [c.run_id for c in crossed if c.optimizer == "adamw"] == [plain[0].run_id]
    assert [c.momentum for c in crossed if c.optimizer == "sgd"] == [0.5, 0.9]
    assert _configs("runs: {optimizer: sgd, seeds: 1}")[0].momentum == 0.9


def test_a_key_of_runs_is_excused_from_blocks_without_use_for_it() -> None:
    configs = _configs("runs: {heads: 2, seeds: 1}\nblocks: [{arch: mlp}, {arch: transformer}]")
    assert [(c.arch, c.heads) for c in configs] == [("mlp", None), ("transformer", 2)]


def test_allocation_takes_its_shares_from_the_control_or_from_the_spec() -> None:
    waiting = _configs("runs: {arm: allocation, w_c: control, gamma: [-0.3, 0.3], seeds: 1}")
    assert [(c.arm, c.gamma, c.shares) for c in waiting if c.arm != "free"] == [
        ("allocation", -0.3, None), ("allocation", 0.3, None)
    ]  # fmt: skip
    pinned = _configs(
        "runs: {arm: allocation, w_c: 54.5, share_embedding: 0.385913, share_hidden: 0.803854, seeds: 1, "
        "share_readout: 0.452647}"
    )
    assert [(c.gamma, c.shares) for c in pinned] == [
        (0.0, {"embedding": 0.385913, "hidden": 0.803854, "readout": 0.452647})
    ]


@pytest.mark.parametrize(("stop", "after"), [("grokked", 0), ("grokked+500", 500), ("budget", None)])
def test_stop_says_how_long_a_run_goes_on(stop: str, after: int | None) -> None:
    assert _configs(f"runs: {{stop: {stop}, seeds: 1}}")[0].steps_after_grokking == after
