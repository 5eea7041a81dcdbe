"""Every engine computes the same: gradients, readings and whole runs; and what is chosen where one does not work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from packs import (
    CPU,
    after,
    assert_readings_near,
    assert_states_near,
    complete,
    continued,
    exactly,
    filled,
    rows,
    stack_of,
)

from grok_sweeps.config import RunConfig
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.train import engine as engines
from grok_sweeps.train.engine import Engine, choose_engine
from grok_sweeps.train.fused import FusedKernels, FusedUnavailableError
from grok_sweeps.train.fused.kernels import try_out
from grok_sweeps.train.lanes import LaneTensors
from grok_sweeps.train.native import NativeBuildError
from grok_sweeps.train.pack import PackTrainer
from tests.rounding import FLOOR, assert_near

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]

SIZES: dict[str, dict[str, Any]] = {
    "small": {},
    "odd": {"p": 7, "d_model": 5, "hidden": 9, "train_fraction": 0.6},
    "one class more than a vector": {"p": 17, "d_model": 8, "hidden": 33},
    "the paper's": {"p": 59, "d_model": 128, "hidden": 256, "train_fraction": 0.4, "lr": 1e-3, "weight_decay": 1.0},
    "least": {"p": 2, "d_model": 1, "hidden": 1, "train_fraction": 0.6},
    "mini-batches": {"p": 11, "d_model": 8, "hidden": 20, "batch_size": 37},
    "three blocks": {"p": 131, "d_model": 16, "hidden": 70, "train_fraction": 0.1},
}
LANES: list[dict[str, Any]] = [
    {},
    {"tau": 1.7, "label_smoothing": 0.1, "lr": 0.002},
    {"logit_penalty": 0.02, "weight_decay": 0.3, "gradient_compensation": True, "tau": 0.4},
    {"arm": "clamp", "rho": 1.1, "w_c": 12.0, "clamp_from_step": 2},
]


@pytest.fixture(params=["native", "fused"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue("interpreted") if request.param == "fused" else choose_engine("native", CPU)


def lanes_of(small_config: Make, size: dict[str, Any], loss: str) -> list[RunConfig]:
    return [replace(small_config(seed, **size, loss=loss), **own) for seed, own in enumerate(LANES)]


@pytest.mark.rounding
@pytest.mark.parametrize("lanes", [[0, 2], [3, 1], [1, 2, 3]])
def test_any_lanes_are_read_together_as_each_is_read_alone(
    small_config: Make, engine: Engine, lanes: list[int]
) -> None:
    stack = stack_of(lanes_of(small_config, SIZES["odd"], "ce"), engine=engine)
    stack.advance(3)
    lanes = sorted(lanes)
    for values, lane in zip(stack.read(lanes), lanes, strict=True):
        alone = stack.read([lane])[0]
        for reading in READING_NAMES:
            assert values[reading] == pytest.approx(alone[reading], rel=FLOOR, nan_ok=True), reading


@pytest.mark.rounding
@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("size", SIZES)
def test_gradients_and_steps_are_as_near_to_float64_as_plain_torchs(
    small_config: Make, engine: Engine, size: str, loss: str
) -> None:
    configs = lanes_of(small_config, SIZES[size], loss)
    n_steps = 4
    if engine.name == "fused":  # an interpreter is slow
        n_steps, configs = 1, {"small": configs[1::2], "the paper's": configs[3:]}.get(size, configs)
    plain = Engine("eager", CPU)
    begun = [LaneTensors.fresh(c) for c in configs]
    gradients = [continued(configs, begun, e, 1) for e in (engine, plain)]
    assert_states_near(*gradients, exactly(configs, begun, 1), ["moment1"])

    states = filled(configs)
    ours, theirs = (continued(configs, states, e, n_steps) for e in (engine, plain))
    exact = exactly(configs, states, n_steps)
    assert_states_near(ours, theirs, exact)
    assert_readings_near(configs, ours, theirs, exact)


def test_the_fused_kernels_are_tried_out_before_a_run_depends_on_them(interpreted: Engine) -> None:
    assert isinstance(interpreted.kernels, FusedKernels)
    try_out(interpreted.kernels, CPU)


@pytest.mark.rounding
def test_lanes_of_the_fused_engine_do_not_touch_each_other(small_config: Make, interpreted: Engine) -> None:
    configs = lanes_of(small_config, SIZES["odd"], "ce")
    states = filled(configs)
    together = continued(configs, states, interpreted, 3)
    for lane, (config, state) in enumerate(zip(configs, states, strict=True)):
        alone, exact = continued([config], [state], interpreted, 3), exactly([config], [state], 3)
        among = after(together, "weights")[lane : lane + 1]
        assert_near(among, after(alone, "weights"), after(exact, "weights"), str(lane))


def test_runs_grok_within_a_reading_of_each_other_under_every_engine_of_this_device(
    small_config: Make, trainer: Trainer, new_sweep: Callable[[str], Any]
) -> None:
    configs = [small_config(seed, tau=tau) for seed in (0, 1) for tau in (1.0, 1.5)]
    found = {}
    for name in ("eager", "native"):
        store = new_sweep(name)
        complete(trainer(configs, lanes=2, store=store, engine=choose_engine(name, CPU)))
        found[name] = rows(store)
        assert {row["engine"] for row in found[name].values()} == {name}
    assert set(found["native"]) == set(found["eager"])
    for run, row in found["eager"].items():
        other = found["native"][run]
        assert row["outcome"] == other["outcome"] == "grokked"
        for step in ("memorized_step", "grokked_step"):
            assert abs(other[step] - row[step]) <= configs[0].eval_every, step


@pytest.mark.rounding
def test_float64_and_stablemax_train_where_the_kernels_do_not_reach(small_config: Make, engine: Engine) -> None:
    plain = Engine("eager", CPU)
    doubled = [small_config(0, **SIZES["odd"], dtype="float64")]
    assert torch.equal(*(after(continued(doubled, filled(doubled), e, 2), "weights") for e in (engine, plain)))
    configs = [small_config(0, **SIZES["odd"], normalizer="stablemax")]
    states = filled(configs)
    ours, theirs = (continued(configs, states, e, 2) for e in (engine, plain))
    assert_states_near(ours, theirs, exactly(configs, states, 2))


def test_auto_takes_the_fastest_and_says_why_where_it_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine("auto", CPU).name == "native"

    def no_compiler() -> None:
        raise NativeBuildError("no C++ compiler is found")

    def no_triton() -> None:
        raise FusedUnavailableError("Triton is not installed")

    monkeypatch.setattr(engines, "_KERNELS", {"native": no_compiler, "fused": no_triton})
    fallen_back = choose_engine("auto", CPU)
    assert (fallen_back.name, fallen_back.kernels) == ("eager", None)
    assert "no C++ compiler is found" in (fallen_back.note or "")
    on_gpu = choose_engine("auto", torch.device("cuda"))
    assert on_gpu.name == "graph"
    assert on_gpu.captures
    assert "Triton is not installed" in (on_gpu.note or "")
    with pytest.raises(NativeBuildError):
        choose_engine("native", CPU)
    with pytest.raises(ValueError, match="'fused' does not train on cpu; use auto, eager, native"):
        choose_engine("fused", CPU)


def test_the_engine_trains_without_ray_pydantic_duckdb_and_yaml(tmp_path: Path) -> None:
    """A machine with torch, numpy and pyarrow alone can train a pack."""
    code = """
import sys
for name in ("ray", "pydantic", "duckdb", "yaml", "typer", "statsmodels", "boto3", "psutil"):
    sys.modules[name] = None
import torch
from grok_sweeps.config import RunConfig
from grok_sweeps.provenance import provenance
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork, RunWork
config = RunConfig(7, 0.5, 8, 12, 1e-3, 1.0, "free", 1.0, 0, "run", 50, 25)
run = RunWork(config.run_id, config.cell_id, config, 50)
store = SweepStore(open_objects(sys.argv[1]), "bare")
trainer = PackTrainer(store, PackWork("pack", (run,), 1, 60.0), "a", choose_engine("auto", torch.device("cpu")),
                      provenance(None))
while not trainer.advance(1.0).done:
    pass
print(len(list(store.objects.list("bare/rows"))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"
