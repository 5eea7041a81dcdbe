"""Readings against an independent computation in numpy, and what they decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import torch
from packs import CPU, complete, rows, stack_of
from scipy.special import log_softmax, softmax
from textbook import textbook_logits

from grok_sweeps.config import RunConfig
from grok_sweeps.results import Store
from grok_sweeps.schema import AT_GROK_NAMES, READING_NAMES
from grok_sweeps.store import SweepStore
from grok_sweeps.train.data import train_rows
from grok_sweeps.train.engine import Engine, choose_engine
from grok_sweeps.train.lanes import LaneTensors
from grok_sweeps.train.network import network_of
from grok_sweeps.train.record import RunRecord
from tests.rounding import EPS, FLOOR

Make = Callable[..., RunConfig]

VARIANTS: dict[str, dict[str, Any]] = {
    "ce": {},
    "mse": {"loss": "mse"},
    "stablemax": {"normalizer": "stablemax"},
    "float64": {"dtype": "float64"},
    "transformer_no_layernorm": {"arch": "transformer_no_layernorm", "heads": 2, "lr": 1e-3},
    "transformer": {"arch": "transformer", "heads": 2, "lr": 1e-3},
}
LAYERS = {
    "mlp": {"norm_embedding": ["E"], "norm_hidden": ["W1"], "norm_readout": ["W2"]},
    "transformer": {
        "norm_embedding": ["E"],
        "norm_position": ["position"],
        "norm_attention": ["Q", "K", "V", "O"],
        "norm_hidden": ["W_in", "W_out"],
        "norm_readout": ["W_U"],
    },
}


def parts_of(config: RunConfig, flat: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: view[0] for name, view in network_of(config).layout.views(flat.double()[None]).items()}


def preactivations(config: RunConfig, parts: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """The hidden layer's input: solved out of the textbook network by making the rest of it the identity."""
    if config.arch == "mlp":
        return (torch.cat([parts["E"][a], parts["E"][b]], 1) @ parts["W1"] + parts["b1"]).numpy()
    seen: list[torch.Tensor] = []
    gelu = torch.nn.functional.gelu

    def spy(x: torch.Tensor) -> torch.Tensor:
        seen.append(x[:, -1])
        return gelu(x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "gelu", spy)
        textbook_logits(config, parts, a, b)
    return seen[0].numpy()


def numpy_readings(config: RunConfig, before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
    """Every reading but the gradient norm, from flat weights before and after the last step."""
    parts = parts_of(config, after)
    a, b = (torch.from_numpy(x) for x in np.divmod(np.arange(config.p**2), config.p))
    x = textbook_logits(config, parts, a, b).numpy() / config.tau
    y = ((a + b) % config.p).numpy()
    at = np.arange(len(y))
    train = np.zeros(config.p**2, dtype=bool)
    train[train_rows(config).numpy()] = True
    probability, loss = softmax(x, axis=1), -log_softmax(x, axis=1)[at, y]
    if config.normalizer == "stablemax":
        s = np.where(x >= 0, x + 1, 1 / (1 - np.minimum(x, 0)))
        probability = s / s.sum(1, keepdims=True)
        loss = -np.log(probability[at, y])
    if config.loss == "mse":
        loss = ((x - np.eye(x.shape[1])[y]) ** 2).sum(1)
    others = x.copy()
    others[at, y] = -np.inf
    right = x[at, y] > others.max(1)
    pre = preactivations(config, parts, a, b)
    power = (np.abs(np.fft.rfft(parts["E"][: config.p].numpy(), axis=0)) ** 2).sum(1)[1:]
    n = network_of(config).layout.n_weights
    u, v = before[:n].double().numpy(), after[:n].double().numpy()
    layers = LAYERS["mlp" if config.arch == "mlp" else "transformer"]
    norms = {name: math.sqrt(sum(float(parts[q].square().sum()) for q in names)) for name, names in layers.items()}
    return {
        "train_loss": loss[train].mean(),
        "test_loss": loss[~train].mean(),
        "train_accuracy": right[train].mean(),
        "test_accuracy": right[~train].mean(),
        "logit_scale": np.linalg.norm(x, axis=1).mean(),
        "softmax_collapse": 0.0,
        "saturation": (probability.max(1) > 0.999).mean(),
        "weight_norm": np.linalg.norm(v),
        "norm_position": math.nan,
        "norm_attention": math.nan,
        **norms,
        "update_norm": np.linalg.norm(v - u),
        "turn_angle": math.acos(min(1.0, u @ v / np.linalg.norm(u) / np.linalg.norm(v))),
        "preactivation_rms": math.sqrt((pre**2).mean()),
        "saturated_units": (np.abs(pre) > 3).mean(),
        "fourier_concentration": np.sort(power)[-5:].sum() / power.sum(),
    }


@pytest.mark.rounding
@pytest.mark.parametrize("variant", VARIANTS)
def test_readings_equal_an_independent_computation(small_config: Make, variant: str) -> None:
    config = small_config(4, tau=1.3, **VARIANTS[variant])
    stack = stack_of([config])
    stack.advance(79)
    before = stack.state(0)
    stack.advance(1)
    read = stack.read([0])[0]
    expected = numpy_readings(config, before.weights, stack.state(0).weights)
    assert set(read) == set(READING_NAMES)
    assert set(expected) == set(READING_NAMES) - {"grad_norm"}
    for name, value in expected.items():
        assert read[name] == pytest.approx(value, rel=FLOOR, nan_ok=True), name
    # Adam's first moment tells the gradient of the step: m' = 0.9 m + 0.1 g.
    n = network_of(config).layout.n_weights
    moments = [state.moment1[:n].double() for state in (before, stack.state(0))]
    gradient = (moments[1] - 0.9 * moments[0]) / 0.1
    lost = EPS * float(moments[0].norm() + moments[1].norm()) / 0.1  # what rounding the moments leaves of it
    assert read["grad_norm"] == pytest.approx(float(gradient.norm()), rel=FLOOR, abs=lost)


@pytest.fixture(params=["eager", "native", "fused"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "fused":
        fused: Engine = request.getfixturevalue("interpreted")
        return fused
    return choose_engine(request.param, CPU)


def accuracies(config: RunConfig, flat: torch.Tensor, engine: Engine) -> tuple[float, float]:
    state = LaneTensors(flat, torch.zeros_like(flat), torch.zeros_like(flat), 1)
    read = stack_of([config], [state], engine).read([0])[0]
    return read["train_accuracy"], read["test_accuracy"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_tie_is_not_a_correct_answer(small_config: Make, engine: Engine, variant: str) -> None:
    config = small_config(**VARIANTS[variant])
    flat = torch.zeros_like(LaneTensors.fresh(config).weights)
    assert accuracies(config, flat, engine) == (0.0, 0.0), "all classes alike"
    if config.arch == "mlp":
        classes = network_of(config).layout.views(flat[None])["b2"][0]
        classes[[2, 3]] = 1.0
        assert accuracies(config, flat, engine) == (0.0, 0.0), "two classes before all others"
        classes[3] += torch.finfo(flat.dtype).eps
        train = torch.zeros(config.p**2, dtype=torch.bool)
        train[train_rows(config)] = True
        a, b = (torch.from_numpy(x) for x in np.divmod(np.arange(config.p**2), config.p))
        right = ((a + b) % config.p == 3).double()
        expected = float(right[train].mean()), float(right[~train].mean())
        assert accuracies(config, flat, engine) == pytest.approx(expected), "one class before all, as near as can be"


@pytest.mark.parametrize("tau", [1e7, 1e30])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_network_answers_does_not_depend_on_the_temperature(
    small_config: Make, engine: Engine, variant: str, tau: float
) -> None:
    config = small_config(**VARIANTS[variant])
    flat = LaneTensors.fresh(config).weights
    answered = accuracies(config, flat, engine)
    assert max(answered) < 0.5
    assert accuracies(replace(config, tau=tau), flat, engine) == answered


@pytest.mark.parametrize("name", ["eager", "native"])
def test_a_run_whose_probabilities_all_round_to_the_same_does_not_grok(
    small_config: Make, trainer: Callable[..., Any], sweep_store: SweepStore, name: str
) -> None:
    config = small_config(p=23, tau=1e7, max_steps=2)
    complete(trainer([config], lanes=1, engine=choose_engine(name, CPU)))
    row = rows(sweep_store)[config.run_id]
    assert (row["outcome"], row["memorized_step"], row["grokked_step"]) == ("censored", None, None)


def test_the_turn_of_a_millionth_of_a_radian_is_read_to_a_thousandth_of_it(small_config: Make) -> None:
    config = small_config(lr=1e-9, weight_decay=0.0, dtype="float64")
    stack = stack_of([config])
    stack.advance(1)
    before = LaneTensors.fresh(config).weights
    after = stack.state(0).weights
    n = network_of(config).layout.n_weights
    u, v = before[:n], after[:n]
    across = (v - u) - u * ((v - u) @ u) / (u @ u)
    angle = float(across.norm() / u.norm())
    assert 1e-9 < angle < 1e-6
    assert stack.read([0])[0]["turn_angle"] == pytest.approx(angle, rel=1e-3)


def test_an_embedding_of_few_waves_is_concentrated_in_them(small_config: Make) -> None:
    config = small_config()
    state = LaneTensors.fresh(config)
    stack = stack_of([config], [state])
    spread = stack.read([0])[0]["fourier_concentration"]
    residues = torch.arange(config.p)
    waves = torch.stack([torch.cos(2 * math.pi * k * residues / config.p + k) for k in (1, 3, 4, 7, 10)], 1)
    columns = torch.arange(config.d_model)
    state.weights[: config.p * config.d_model] = waves[:, columns % 5].flatten()
    assert stack_of([config], [state]).read([0])[0]["fourier_concentration"] == pytest.approx(1.0, abs=1e-6)
    assert 5 / 11 < spread < 0.7, "five of eleven frequencies of noise"


def test_softmax_collapse_counts_probabilities_that_round_to_one(small_config: Make) -> None:
    config = small_config()
    stack = stack_of([config])
    stack.advance(150)
    assert stack.read([0])[0]["softmax_collapse"] == 0.0
    grown = stack.state(0)
    grown.weights *= 2.0
    assert stack_of([config], [grown]).read([0])[0]["softmax_collapse"] > 0.5
    finer = LaneTensors(grown.weights.double(), grown.moment1.double(), grown.moment2.double(), grown.step)
    in_float64 = stack_of([replace(config, dtype="float64")], [finer]).read([0])[0]
    assert in_float64["softmax_collapse"] == 0.0, "working precision is what decides"


def test_what_an_architecture_lacks_is_null_and_not_a_number_made_up(
    small_config: Make, trainer: Callable[..., Any], sweep_store: SweepStore
) -> None:
    mlp = small_config(0)
    transformer = small_config(0, arch="transformer_no_layernorm", heads=2, p=11, d_model=16, hidden=32, max_steps=50)
    complete(trainer([mlp], lanes=1))
    complete(trainer([transformer], lanes=1, pack_id="other"))
    found = rows(sweep_store)
    assert found[mlp.run_id]["norm_attention_at_grok"] is None
    absent = {name for name in AT_GROK_NAMES if found[mlp.run_id][f"{name}_at_grok"] is None}
    assert absent == {"norm_position", "norm_attention"}
    curves = Store(sweep_store.objects).curves().set_index("run_id")
    assert curves.loc[mlp.run_id, "norm_attention"].isna().all()
    assert curves.loc[transformer.run_id, "norm_attention"].notna().all()


def record(config: RunConfig) -> RunRecord:
    return RunRecord(config, datetime.now(UTC), config.max_steps)


def values(**given: float) -> dict[str, float]:
    return {**dict.fromkeys(READING_NAMES, 0.1), **given}


def test_readings_are_at_step_one_at_multiples_and_at_the_horizon(small_config: Make) -> None:
    run = record(small_config(max_steps=60))
    assert [run.next_reading(step) for step in (0, 1, 24, 25, 50, 59)] == [1, 25, 25, 50, 60, 60]


def test_memorising_and_grokking_are_the_first_readings_above_their_thresholds(small_config: Make) -> None:
    run = record(small_config())
    for step, train, test in ((1, 0.0, 0.0), (25, 0.99, 0.2), (50, 0.98, 0.89999), (75, 1.0, 0.90)):
        assert run.outcome is None
        run.add(step, values(train_accuracy=train, test_accuracy=test))
    columns = run.outcome_columns()
    assert columns["outcome"] == "grokked"
    assert (columns["memorized_step"], columns["grokked_step"], columns["delay"]) == (25, 75, 50)
    assert columns["test_accuracy_at_grok"] == 0.90


def test_a_budget_spent_is_censored_and_never_a_number(small_config: Make) -> None:
    run = record(small_config(max_steps=50))
    for step in (1, 25, 50):
        run.add(step, values(train_accuracy=1.0))
    columns = run.outcome_columns()
    assert columns["outcome"] == "censored"
    assert columns["steps_run"] == 50
    assert columns["grokked_step"] is columns["delay"] is columns["logit_scale_at_grok"] is None


@pytest.mark.parametrize(("stop", "ends"), [("grokked", 50), ("grokked+60", 110), ("budget", 200)])
def test_a_run_goes_on_after_grokking_as_its_stop_says(small_config: Make, stop: str, ends: int) -> None:
    run = record(small_config(max_steps=200, stop=stop))
    step = 0
    while run.outcome is None:
        step = run.next_reading(step)
        run.add(step, values(train_accuracy=1.0, test_accuracy=0.95 if step >= 50 else 0.0, logit_scale=float(step)))
    columns = run.outcome_columns()
    assert (columns["outcome"], columns["grokked_step"], columns["steps_run"]) == ("grokked", 50, ends)
    assert columns["logit_scale_at_grok"] == 50.0, "read at the grokking step, not at the end"
    assert run.spent_its_budget == (stop == "budget")


def test_a_run_that_must_spend_its_budget_may_still_be_censored(small_config: Make) -> None:
    run = record(small_config(max_steps=50, stop="budget"))
    for step in (1, 25, 50):
        run.add(step, values(train_accuracy=1.0))
    assert run.outcome == "censored"


def test_the_delay_of_a_fork_is_counted_from_the_fork(small_config: Make) -> None:
    run = record(small_config(fork_cell="c", fork_step=40))
    run.memorized_step = 25
    run.add(50, values(train_accuracy=1.0, test_accuracy=0.95))
    columns = run.outcome_columns()
    assert (columns["memorized_step"], columns["grokked_step"], columns["delay"]) == (25, 50, 10)


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(small_config: Make) -> None:
    run = record(small_config())
    run.add(1, values(train_loss=float("nan"), test_accuracy=0.95))
    columns = run.outcome_columns()
    assert (columns["outcome"], columns["steps_run"], columns["grokked_step"]) == ("diverged", 1, None)
    assert columns["error"]
