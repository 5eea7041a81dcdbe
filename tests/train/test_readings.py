"""Readings against an independent computation in numpy, and what they decide."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from scipy.special import erf, log_softmax, softmax

from grok_sweeps.config import RunConfig
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.train.data import labels, train_rows
from grok_sweeps.train.lanes import LaneStack, LaneTensors
from grok_sweeps.train.mlp import MlpShape
from grok_sweeps.train.record import RunRecord

Make = Callable[..., RunConfig]


def numpy_readings(config: RunConfig, flat: torch.Tensor) -> dict[str, float]:
    shape = MlpShape.of(config)
    w = {name: view[0].double().numpy() for name, view in shape.views(flat[None]).items()}
    a, b = np.divmod(np.arange(config.p**2), config.p)
    pre = np.concatenate([w["E"][a], w["E"][b]], axis=1) @ w["W1"] + w["b1"]
    z = (0.5 * pre * (1 + erf(pre / np.sqrt(2))) @ w["W2"] + w["b2"]) / config.tau
    y = labels(config.p).numpy()
    train = np.zeros(config.p**2, dtype=bool)
    train[train_rows(config).numpy()] = True
    loss = -log_softmax(z, axis=1)[np.arange(len(y)), y]
    right = z.argmax(1) == y
    norms = [np.linalg.norm(w[name]) for name in ("E", "W1", "W2")]
    return {
        "train_loss": loss[train].mean(),
        "test_loss": loss[~train].mean(),
        "train_accuracy": right[train].mean(),
        "test_accuracy": right[~train].mean(),
        "logit_scale": np.linalg.norm(z, axis=1).mean(),
        "saturation": (softmax(z, axis=1).max(1) > 0.999).mean(),
        "weight_norm": np.sqrt(sum(n**2 for n in norms)),
        "norm_embedding": norms[0],
        "norm_hidden": norms[1],
        "norm_readout": norms[2],
    }


def test_readings_equal_an_independent_computation(small_config: Make) -> None:
    config = small_config(4, tau=1.3)
    stack = LaneStack([config], [None], [LaneTensors.fresh(config)], torch.device("cpu"))
    stack.advance(80)
    read = stack.read(0)
    assert set(read) == set(READING_NAMES)
    for name, value in numpy_readings(config, stack.state(0).weights).items():
        assert read[name] == pytest.approx(value, rel=2e-5), name


def test_softmax_collapse_counts_probabilities_that_round_to_one(small_config: Make) -> None:
    config = small_config()
    state = LaneTensors.fresh(config)
    stack = LaneStack([config], [None], [state], torch.device("cpu"))
    stack.advance(150)
    assert stack.read(0)["softmax_collapse"] == 0.0
    grown = stack.state(0)
    grown.weights *= 6.0
    stack.rebuild([config], [None], [grown])
    assert stack.read(0)["softmax_collapse"] > 0.5


def record(config: RunConfig) -> RunRecord:
    return RunRecord(config, datetime.now(UTC))


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


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(small_config: Make) -> None:
    run = record(small_config())
    run.add(1, values(train_loss=float("nan"), test_accuracy=0.95))
    columns = run.outcome_columns()
    assert (columns["outcome"], columns["steps_run"], columns["grokked_step"]) == ("diverged", 1, None)
    assert columns["error"]
