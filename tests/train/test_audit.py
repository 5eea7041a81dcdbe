"""The audit: finished runs trained again agree, and a row that was tampered with does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from packs import complete, rows

from grok_sweeps.config import RunConfig
from grok_sweeps.errors import CalibrationError
from grok_sweeps.store import SweepStore
from grok_sweeps.store.rows import RowLog
from grok_sweeps.train import native
from grok_sweeps.train.audit import Audited, audit_run, sample
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import reference_of

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]


def audited(store: SweepStore, run_id: str, seed: int = 0) -> Audited:
    return audit_run(store.objects.uri, store.sweep, rows(store)[run_id], seed)


def test_finished_runs_trained_again_and_interrupted_agree_bit_for_bit(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    configs = [small_config(seed, arm="clamp", rho=1.0, w_c=27.0, clamp_from_step=50) for seed in range(2)]
    configs.append(small_config(3, max_steps=60))  # censored
    complete(trainer(configs, lanes=1))
    found = [audited(sweep_store, config.run_id) for config in configs]
    assert all(a.agrees and a.same_bits for a in found), found
    assert {rows(sweep_store)[a.run_id]["outcome"] for a in found} == {"grokked", "censored"}
    assert all(0 <= a.interrupted_at <= rows(sweep_store)[a.run_id]["steps_run"] for a in found)
    assert len({audited(sweep_store, configs[0].run_id, seed).interrupted_at for seed in range(3)}) > 1


def test_a_row_that_does_not_hold_is_found_with_both_values(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(0)
    complete(trainer([config], lanes=1))
    true = rows(sweep_store)[config.run_id]["grokked_step"]
    refresh = RowLog.refresh

    def tampered(log: RowLog) -> None:
        refresh(log)
        if config.run_id in log.rows and log.rows[config.run_id]["attempt"] == "a":
            log.rows[config.run_id]["grokked_step"] = true + 25

    monkeypatch.setattr(RowLog, "refresh", tampered)
    found = audited(sweep_store, config.run_id)
    assert not found.agrees
    assert found.differences == {"grokked_step": (true + 25, true)}


def test_a_fork_whose_parents_state_is_lost_is_skipped_with_the_reason(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(0)
    complete(trainer([config], lanes=1))
    refresh = RowLog.refresh

    def forked(log: RowLog) -> None:
        refresh(log)
        fork = {"fork_of": "0123456789abcdef", "fork_step": 50, "fork_cell": "0123456789abcdef"}
        log.rows[config.run_id].update(fork)

    monkeypatch.setattr(RowLog, "refresh", forked)
    found = audited(sweep_store, config.run_id)
    assert not found.agrees
    assert "states/0123456789abcdef@50.safetensors is gone" in found.skipped

    name = sweep_store.layout.state("0123456789abcdef", 50)
    sweep_store.objects.put(name, b"damaged")
    found = audited(sweep_store, config.run_id)
    assert not found.agrees
    assert f"{name}: not a checkpoint of this project" in found.skipped
    assert sweep_store.objects.get(name) == b"damaged", "an audit only reads"


def test_the_sample_is_a_share_of_what_finished_and_the_same_for_a_seed() -> None:
    table = {f"{k:02d}": {"outcome": "failed" if k % 5 == 0 else "grokked"} for k in range(40)}
    chosen = sample(table, 0.1, seed=1)
    assert len(chosen) == len(set(chosen)) == 4
    assert all(table[run]["outcome"] == "grokked" for run in chosen)
    assert chosen == sample(dict(reversed(table.items())), 0.1, seed=1)
    assert len(sample(table, 1.0, seed=0)) == 32
    assert len(sample(table, 0.001, seed=0)) == 1
    assert sample({}, 1.0, seed=0) == []


def test_a_row_of_compiled_kernels_is_audited_where_they_cannot_be_built(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = small_config(0, max_steps=60)
    complete(trainer([config], lanes=1, engine=choose_engine("native", torch.device("cpu"))))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    native.load.cache_clear()
    assert audited(sweep_store, config.run_id).agrees


def test_a_run_whose_control_is_not_in_the_calibration_is_told_in_a_line(small_config: Make) -> None:
    config = small_config(0, arm="clamp", rho=1.0, control_id="0123456789abcdef", clamp_from_step=50)
    with pytest.raises(
        CalibrationError, match=r"control 0123456789abcdef: .* has no such control; run the sweep again"
    ):
        reference_of(config, {})
