"""What CONTRIBUTING shows works as it stands there: a task, an arm, a reading and an architecture of one's own."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from packs import stack_of

from grok_sweeps import architectures, arms, schema, tasks
from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.arms import ARMS, Reference
from grok_sweeps.config import RunConfig
from grok_sweeps.spec import parse_spec
from grok_sweeps.tasks import TASKS, pairs
from grok_sweeps.train import network, readings

Make = Callable[..., RunConfig]
TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def block(word: str) -> str:
    (found,) = (text for text in BLOCKS if word in text)
    return found


def run(code: str, *modules: ModuleType) -> dict[str, Any]:
    names: dict[str, Any] = {"torch": torch, "Tensor": torch.Tensor, "RunConfig": RunConfig}
    for module in modules:
        names |= vars(module)
    exec(code, names)
    return names


@pytest.fixture(autouse=True)
def _registries_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (TASKS, ARMS, ARCHITECTURES):
        for name, value in dict(registry).items():
            monkeypatch.setitem(registry, name, value)  # type: ignore[arg-type]
    yield
    for registry in (TASKS, ARMS, ARCHITECTURES):
        for name in ("sum_of_cubes", "readout", "product"):
            registry.pop(name, None)


def test_a_task_is_one_line(small_config: Make) -> None:
    run(block("sum_of_cubes"), tasks)
    assert pairs("sum_of_cubes", 7).target.tolist() == [(a**3 + b**3) % 7 for a in range(7) for b in range(7)]
    assert parse_spec("name: mine\nruns: {task: sum_of_cubes}").runs.task == ("sum_of_cubes",)
    stack_of([small_config(task="sum_of_cubes")]).advance(2)


def test_an_arm_is_a_function_and_a_line(small_config: Make) -> None:
    run(block("_readout_only"), arms)
    config = small_config(arm="readout", rho=2.0, clamp_from_step=1)
    held = ARMS["readout"].held(config, Reference(10.0, (0.6, 0.64, 0.48)))
    assert held is not None
    assert held.layers == pytest.approx((6.0, 6.4, 9.6))


def test_a_reading_is_a_column_and_a_line(small_config: Make) -> None:
    column = run("column = " + block("Column("), schema)["column"]
    entry = run("entry = {" + block("lambda probe") + "}", readings)["entry"]
    assert list(entry) == [column.name]
    stack = stack_of([small_config()])
    stack.advance(1)
    seen: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(readings.TAKEN, "logit_scale", lambda probe: seen.append(float(entry[column.name](probe))) or 0.0)
        stack.read([0])
    assert 1.0 < seen[0] < 23.0


def test_an_architecture_is_a_class_of_twenty_lines(small_config: Make) -> None:
    names = run(block("class Product"), network)
    module = ModuleType("my_network")
    module.Product = names["Product"]  # type: ignore[attr-defined]
    sys.modules["my_network"] = module
    try:
        ARCHITECTURES["product"] = replace(
            ARCHITECTURES["mlp"], implementation="my_network:Product", layers=("embedding", "readout")
        )
        stack = stack_of([small_config(seed, arch="product") for seed in range(2)])
        stack.advance(1)
        first = stack.read([1])[0]
        stack.advance(50)
        assert stack.read([1])[0]["train_loss"] < first["train_loss"]
    finally:
        del sys.modules["my_network"]


def test_every_layer_has_a_column_for_its_norm() -> None:
    layers = {layer for architecture in architectures.ARCHITECTURES.values() for layer in architecture.layers}
    assert {f"norm_{layer}" for layer in layers} <= set(schema.READING_NAMES)
