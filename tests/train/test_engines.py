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
from packs import CPU, after, complete, relative, rows, stack_of

from grok_sweeps.config import RunConfig
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.train import engine as engines
from grok_sweeps.train.engine import Engine, choose_engine
from grok_sweeps.train.fused import FusedKernels, FusedUnavailableError
from grok_sweeps.train.fused.kernels import try_out
from grok_sweeps.train.native import NativeBuildError
from grok_sweeps.train.pack import PackTrainer

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


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The fused engine on a CPU: its programs run in Triton's interpreter."""
    if torch.cuda.is_available():
        pytest.skip("the kernels run on the GPU that is here: test_cuda.py")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    fused = pytest.importorskip("interpreted_triton", reason="the fused kernels need Triton (pip install triton)")
    return Engine("fused", CPU, fused.load())


@pytest.fixture(params=["native", "fused"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue("interpreted") if request.param == "fused" else choose_engine("native", CPU)


def lanes_of(small_config: Make, size: dict[str, Any], loss: str) -> list[RunConfig]:
    return [replace(small_config(seed, **size, loss=loss), **own) for seed, own in enumerate(LANES)]


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
            assert values[reading] == pytest.approx(alone[reading], rel=1e-6, abs=1e-9, nan_ok=True), reading


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_a_step_is_the_same_as_in_plain_torch(
    small_config: Make, engine: Engine, size: dict[str, Any], loss: str
) -> None:
    configs = lanes_of(small_config, size, loss)
    ours, theirs = stack_of(configs, engine=engine), stack_of(configs, engine=Engine("eager", CPU))
    n_steps = 1 if engine.name == "fused" else 4
    for stack in (ours, theirs):
        stack.advance(n_steps)
    for name in ("weights", "moment1"):
        assert relative(after(ours, name), after(theirs, name)) < 1e-5, name
    for mine, other in zip(ours.read([0, 1, 2, 3]), theirs.read([0, 1, 2, 3]), strict=True):
        for reading in READING_NAMES:
            assert mine[reading] == pytest.approx(other[reading], rel=1e-4, abs=1e-7, nan_ok=True), reading


def test_the_gradient_of_every_engine_is_as_near_to_float64_as_plain_torchs(small_config: Make, engine: Engine) -> None:
    configs = lanes_of(small_config, SIZES["three blocks"], "ce")
    exact = stack_of([replace(c, dtype="float64") for c in configs], engine=Engine("eager", CPU))
    stacks = [stack_of(configs, engine=e) for e in (engine, Engine("eager", CPU))]
    for stack in (exact, *stacks):
        stack.advance(1)
    ours, plain = (relative(after(stack, "moment1"), after(exact, "moment1")) for stack in stacks)
    assert ours < max(3 * plain, 1e-6)


def test_the_fused_kernels_are_tried_out_before_a_run_depends_on_them(interpreted: Engine) -> None:
    assert isinstance(interpreted.kernels, FusedKernels)
    try_out(interpreted.kernels, CPU)


def test_lanes_of_the_fused_engine_do_not_touch_each_other(small_config: Make, interpreted: Engine) -> None:
    configs = lanes_of(small_config, SIZES["odd"], "ce")
    together = stack_of(configs, engine=interpreted)
    together.advance(3)
    for lane, config in enumerate(configs):
        alone = stack_of([config], engine=interpreted)
        alone.advance(3)
        assert relative(after(alone, "weights"), after(together, "weights")[lane : lane + 1]) < 1e-5


def test_runs_grok_at_the_same_step_under_every_engine_of_this_device(
    small_config: Make, trainer: Trainer, new_sweep: Callable[[str], Any]
) -> None:
    configs = [small_config(seed, tau=tau) for seed in (0, 1) for tau in (1.0, 1.5)]
    steps = {}
    for name in ("eager", "native"):
        store = new_sweep(name)
        complete(trainer(configs, lanes=2, store=store, engine=choose_engine(name, CPU)))
        assert {row["engine"] for row in rows(store).values()} == {name}
        steps[name] = {run: (row["memorized_step"], row["grokked_step"]) for run, row in rows(store).items()}
    assert steps["native"] == steps["eager"]
    assert all(grokked for _, grokked in steps["eager"].values())


def test_float64_and_stablemax_train_where_the_kernels_do_not_reach(small_config: Make, engine: Engine) -> None:
    for changes in ({"dtype": "float64"}, {"normalizer": "stablemax"}):
        config = small_config(0, **SIZES["odd"], **changes)
        ours, theirs = stack_of([config], engine=engine), stack_of([config], engine=Engine("eager", CPU))
        for stack in (ours, theirs):
            stack.advance(2)
        assert relative(after(ours, "weights"), after(theirs, "weights")) < 1e-6


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
