"""On a GPU: every engine against plain torch on the CPU, graphs against launched steps, packs from end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from packs import (
    CPU,
    a_little,
    after,
    assert_readings_near,
    assert_states_near,
    complete,
    continued,
    exactly,
    filled,
    held_of,
    rows,
    stack_of,
)

from grok_sweeps.config import RunConfig
from grok_sweeps.engines import ENGINES
from grok_sweeps.store import SweepStore
from grok_sweeps.train.engine import Engine, choose_engine
from grok_sweeps.train.lanes import STATE_TENSORS, Joining, LaneStack, LaneTensors
from grok_sweeps.train.memory import CudaMeter
from grok_sweeps.train.pack import PackTrainer
from tests.rounding import assert_near, relative

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none here")

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]

TINY: dict[str, Any] = {"p": 11, "d_model": 16, "hidden": 32, "lr": 3e-3}
KINDS: dict[str, dict[str, Any]] = {
    "ce": {},
    "mse": {"loss": "mse"},
    "odd": {"p": 7, "d_model": 5, "hidden": 9, "train_fraction": 0.6},
    "one class more than a vector": {"p": 17, "d_model": 8, "hidden": 33},
    "the paper's, p = 59": {"p": 59, "d_model": 128, "hidden": 256, "train_fraction": 0.4, "lr": 1e-3},
    "the paper's, p = 97": {"p": 97, "d_model": 128, "hidden": 256, "train_fraction": 0.4, "lr": 1e-3},
    "more classes than the kernels hold": {"p": 131, "d_model": 16, "hidden": 70, "train_fraction": 0.1},
    "float64": {"dtype": "float64"},
    "stablemax": {"normalizer": "stablemax"},
    "sgd": {"optimizer": "sgd", "momentum": 0.5},
    "orthogonal": {"gradient_projection": "orthogonal"},
    "mini-batches": {"batch_size": 40},
    "transformer": {"arch": "transformer", "heads": 2, **TINY},
    "transformer_no_layernorm": {"arch": "transformer_no_layernorm", "heads": 2, **TINY},
}
LANES: list[dict[str, Any]] = [
    {},
    {"tau": 1.7, "label_smoothing": 0.1, "lr": 0.002},
    {"logit_penalty": 0.02, "weight_decay": 0.3, "gradient_compensation": True, "tau": 0.7},
    {"arm": "clamp", "rho": 1.1, "w_c": 12.0, "clamp_from_step": 2},
]
CALLS = (3, 3, 3, 40, 40, 1)
"""Steps of each call: as they are, captured and replayed, replayed; in parts of the longest graph; one by itself."""


@pytest.fixture(params=ENGINES["cuda"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """An engine of the GPU, which must work here: none falls back on another."""
    return choose_engine(request.param, torch.device("cuda"))


def lanes_of(small_config: Make, kind: dict[str, Any]) -> list[RunConfig]:
    return [replace(small_config(seed, **kind), **own) for seed, own in enumerate(LANES)]


def trained(configs: list[RunConfig], engine: Engine, calls: tuple[int, ...]) -> LaneStack:
    stack = stack_of(configs, engine=engine)
    for n_steps in calls:
        stack.advance(n_steps)
    return stack


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_steps_and_readings_are_as_near_to_float64_as_plain_torchs_on_the_cpu(
    small_config: Make, engine: Engine, kind: dict[str, Any]
) -> None:
    configs = lanes_of(small_config, kind)
    states = filled(configs)
    ours, plain = (continued(configs, states, e, 2, 2, 2) for e in (engine, Engine("eager", CPU)))
    exact = exactly(configs, states, 6)
    assert ours.engine is engine, ours.engine.note
    assert_states_near(ours, plain, exact, ("weights", "moment1"), floor=3e-5)
    assert_readings_near(configs, ours, plain, exact, floor=1e-3)


@pytest.mark.parametrize("kind", ["the paper's, p = 59", "the paper's, p = 97"])
def test_the_gradient_is_as_near_to_float64_as_plain_torchs(small_config: Make, engine: Engine, kind: str) -> None:
    configs = lanes_of(small_config, KINDS[kind])
    begun = [LaneTensors.fresh(c) for c in configs]
    ours, plain = (continued(configs, begun, e, 1) for e in (engine, Engine("eager", CPU)))
    assert_states_near(ours, plain, exactly(configs, begun, 1), ["moment1"])


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "mini-batches"])
@pytest.mark.parametrize("name", [name for name in ENGINES["cuda"] if name != "eager"])
def test_a_captured_graph_does_what_the_launches_do_bit_for_bit(small_config: Make, name: str, kind: str) -> None:
    configs = lanes_of(small_config, KINDS[kind])
    engine = choose_engine(name, torch.device("cuda"))
    captured, launched = (trained(configs, e, CALLS) for e in (engine, engine.without_graphs("for comparison")))
    assert captured.engine.captures, captured.engine.note
    for tensor in STATE_TENSORS:
        assert torch.equal(after(captured, tensor), after(launched, tensor)), tensor


def test_a_graph_goes_on_right_after_a_lane_was_replaced_and_after_the_stack_shrank(small_config: Make) -> None:
    configs = lanes_of(small_config, {})
    weights = []
    for engine in (choose_engine("fused", torch.device("cuda")), Engine("eager", CPU)):
        stack = trained(configs[:3], engine, (5, 5, 5))
        stack.rearrange([0, Joining(configs[3], held_of(configs[3]), LaneTensors.fresh(configs[3])), 2])
        stack.advance(5)
        stack.advance(5)
        stack.rearrange([1, 2])
        stack.advance(5)
        stack.advance(5)
        assert stack.steps == [20, 35]
        weights.append(after(stack, "weights"))
    assert relative(*weights) < 1e-4


@pytest.mark.parametrize("kind", ["ce", "mse", "the paper's, p = 59"])
def test_lanes_of_the_fused_engine_do_not_touch_each_other(small_config: Make, kind: str) -> None:
    engine = choose_engine("fused", torch.device("cuda"))
    configs = lanes_of(small_config, KINDS[kind])
    states = filled(configs)
    together = continued(configs, states, engine, 3, 3, 3)
    for lane, (config, state) in enumerate(zip(configs, states, strict=True)):
        alone, exact = continued([config], [state], engine, 3, 3, 3), exactly([config], [state], 9)
        among = after(together, "weights")[lane : lane + 1]
        assert_near(among, after(alone, "weights"), after(exact, "weights"), str(lane), floor=1e-5)


def test_runs_grok_at_the_step_at_which_they_do_on_the_cpu(
    small_config: Make, trainer: Trainer, new_sweep: Callable[[str], Any], engine: Engine
) -> None:
    configs = [small_config(seed, tau=tau) for seed in range(4) for tau in (1.0, 1.4)]
    on_gpu, on_cpu = new_sweep("gpu"), new_sweep("cpu")
    pack = trainer(configs, lanes=3, store=on_gpu, engine=engine)
    complete(pack)
    complete(trainer(configs, lanes=2, store=on_cpu))
    assert pack.notes == []
    ours, theirs = rows(on_gpu), rows(on_cpu)
    assert {row["engine"] for row in ours.values()} == {engine.name}
    for run, row in theirs.items():
        assert ours[run]["outcome"] == row["outcome"] == "grokked"
        assert abs(ours[run]["grokked_step"] - row["grokked_step"]) <= 25, "within a reading"


def test_an_interrupted_pack_goes_on_bit_for_bit(
    small_config: Make, trainer: Trainer, new_sweep: Callable[[str], Any], engine: Engine
) -> None:
    configs = [small_config(seed) for seed in range(3)]
    whole, cut = new_sweep("whole"), new_sweep("cut")
    complete(trainer(configs, lanes=3, store=whole, engine=engine))
    first = trainer(configs, lanes=3, attempt="first", store=cut, engine=engine)
    while first.run_steps < 300:
        a_little(first)
    first.checkpoint()
    complete(trainer(configs, lanes=3, attempt="second", store=cut, engine=engine))
    for run, row in rows(whole).items():
        assert rows(cut)[run]["final_state_sha256"] == row["final_state_sha256"]


@pytest.fixture
def little_memory() -> Iterator[float]:
    """The share of the GPU that this process may take: 400 MB."""
    torch.cuda.empty_cache()
    share = 4e8 / torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(share)
    yield share
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("measured", [True, False], ids=["measured", "not known"])
def test_a_pack_that_memory_does_not_hold_is_trained_in_fewer_lanes(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore, little_memory: float, measured: bool
) -> None:
    large = {"p": 97, "d_model": 128, "hidden": 256, "train_fraction": 0.4, "max_steps": 60, "stop": "budget"}
    configs = [small_config(seed, **large) for seed in range(96)]
    cuda = torch.device("cuda")
    meter = CudaMeter(cuda, little_memory if measured else 1.0)
    pack = trainer(configs, lanes=96, engine=choose_engine("fused", cuda), meter=meter)
    complete(pack)
    note = "lanes instead of 96: a lane takes" if measured else "out of memory on cuda: goes on with"
    assert note in pack.notes[0]
    assert len(pack.notes) == 1 or not measured
    assert len(rows(sweep_store)) == 96
