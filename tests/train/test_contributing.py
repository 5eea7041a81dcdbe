"""What CONTRIBUTING shows works as it stands there: a task, an arm, a reading and an architecture of one's own."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from packs import held_of, stack_of

from grok_sweeps import architectures, arms, schema, tasks
from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.arms import ARMS, Reference
from grok_sweeps.config import RunConfig
from grok_sweeps.errors import CalibrationError, SpecError
from grok_sweeps.plan import make_plan
from grok_sweeps.results import open_store
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.ancestry import stored_ancestry
from grok_sweeps.tasks import TASKS, pairs
from grok_sweeps.train import network, readings
from grok_sweeps.train.work import reference_of
from tests.trained_here import driven

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
def _registries_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for registry in (TASKS, ARMS, ARCHITECTURES):
        for name, value in dict(registry).items():
            monkeypatch.setitem(registry, name, value)  # type: ignore[arg-type]
    yield
    sys.modules.pop("my_network", None)
    for registry in (TASKS, ARMS, ARCHITECTURES):
        for name in ("sum_of_cubes", "readout", "product", "mixed"):
            registry.pop(name, None)


def test_a_task_is_one_line(small_config: Make) -> None:
    run(block("sum_of_cubes"), tasks)
    assert pairs("sum_of_cubes", 7).target.tolist() == [(a**3 + b**3) % 7 for a in range(7) for b in range(7)]
    assert parse_spec("name: mine\nruns: {task: sum_of_cubes}").runs.task == ("sum_of_cubes",)
    stack_of([small_config(task="sum_of_cubes")]).advance(2)


def test_an_arm_is_a_function_and_a_line(small_config: Make) -> None:
    run(block("_readout_only"), arms)
    config = small_config(arm="readout", rho=2.0, clamp_from_step=1)
    held = ARMS["readout"].held(config, Reference(10.0, {"embedding": 0.6, "hidden": 0.64, "readout": 0.48}))
    assert held is not None
    assert held.layers == pytest.approx({"embedding": 6.0, "hidden": 6.4, "readout": 9.6})


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


def register_product() -> None:
    module = ModuleType("my_network")
    module.Product = run(block("class Product"), network)["Product"]  # type: ignore[attr-defined]
    sys.modules["my_network"] = module
    ARCHITECTURES["product"] = replace(
        ARCHITECTURES["mlp"], implementation="my_network:Product", layers=("embedding", "readout")
    )


def test_an_architecture_is_a_class_of_twenty_lines(small_config: Make) -> None:
    register_product()
    stack = stack_of([small_config(seed, arch="product") for seed in range(2)])
    stack.advance(1)
    first = stack.read([1])[0]
    stack.advance(50)
    assert stack.read([1])[0]["train_loss"] < first["train_loss"]


@pytest.mark.parametrize("arch", ["product", "mlp", "transformer_no_layernorm"])
def test_an_architecture_of_any_layers_has_a_control_and_each_layer_is_held_at_its_own_norm(
    arch: str, tmp_path: Path
) -> None:
    register_product()
    run(block("_readout_only"), arms)
    text = (
        f"name: mine\nruns: {{arch: {arch}, p: 17, train_fraction: 0.9, d_model: 32, hidden: 32, lr: 0.01, seeds: 1, "
        "weight_decay: 1.0, arm: [clamp, readout], w_c: control, rho: [1.0, 1.25], clamp_from_step: 25, "
        "max_steps: 1000, eval_every: 50}"
    )
    report, _ = driven(text, make_plan(parse_spec(text)), str(tmp_path))
    assert (report.state, report.errors) == ("finished", ())
    store = open_store(str(tmp_path))
    (control,) = store.sweep("mine").load_calibration().values()
    shares = {name.removeprefix("share_"): value for name, value in control.items() if name.startswith("share_")}
    assert tuple(shares) == tuple(sorted(ARCHITECTURES[arch].layers))
    assert sum(share**2 for share in shares.values()) == pytest.approx(1.0)
    runs = store.runs("mine").set_index("run_id")
    last = store.curves("mine").sort_values("step").groupby("run_id").last()
    assert sorted(runs.arm) == ["clamp", "clamp", "free", "readout", "readout"]
    for run_id, one in runs[runs.arm == "readout"].iterrows():
        wanted = {
            layer: control["w_c"] * share * (one.rho if layer == "readout" else 1) for layer, share in shares.items()
        }
        found = {layer: last.loc[run_id, f"norm_{layer}"] for layer in shares}
        assert found == pytest.approx(wanted, rel=1e-5)
        assert one.held_norm == pytest.approx(sum(norm**2 for norm in wanted.values()) ** 0.5)


@pytest.mark.parametrize(
    ("axes", "fault"),
    [
        ("arch: product, w_c: 10.0", r"share_embedding: .* add share_embedding, share_readout, or set w_c: control\."),
        ("arch: product, w_c: 10.0, share_embedding: 0.6", r"share_readout: is missing beside share_embedding"),
        (
            "arch: product, w_c: 10.0, share_embedding: 0.6, share_hidden: 0.1, share_readout: 0.8",
            r"share_hidden: arch 'product' has no layer hidden; leave it out\.",
        ),
        ("arch: product, w_c: 10.0, share_embedding: 0.6, share_readout: 0.6", r"squares of 0\.6, 0\.6 sum to 0\.7200"),
        ("arch: transformer, w_c: 10.0", r"share_position, share_attention cannot be pinned; set w_c: control"),
        ("arch: mixed, w_c: control", r"share of layer 'mixer' of arch 'mixed', .* add a column norm_mixer"),
    ],
)
def test_shares_are_pinned_for_the_layers_that_an_architecture_has(axes: str, fault: str) -> None:
    register_product()
    run(block("_readout_only"), arms)
    ARCHITECTURES["mixed"] = replace(ARCHITECTURES["product"], layers=("embedding", "mixer"))
    with pytest.raises(SpecError, match=fault):
        make_plan(parse_spec(f"name: mine\nruns: {{arm: readout, seeds: 1, {axes}}}"))


def test_pinned_shares_of_two_layers_hold_those_layers() -> None:
    register_product()
    run(block("_readout_only"), arms)
    pinned = "arm: readout, rho: 2.0, w_c: 10.0, share_embedding: 0.6, share_readout: 0.8"
    (one,) = make_plan(parse_spec(f"name: mine\nruns: {{arch: product, seeds: 1, {pinned}}}")).runs
    assert one.config.shares == {"embedding": 0.6, "readout": 0.8}
    held = held_of(one.config)
    assert held is not None
    assert held.layers == pytest.approx({"embedding": 6.0, "readout": 16.0})


@pytest.mark.parametrize("arch", ["product", "transformer"])
def test_a_fork_in_another_sweep_has_its_parents_shares_or_a_line_says_why_not(arch: str, tmp_path: Path) -> None:
    register_product()
    run(block("_readout_only"), arms)
    text = f"name: old\nruns: {{arch: {arch}, p: 7, seeds: 1, arm: readout, w_c: control, max_steps: 100}}"
    store, plan = SweepStore(open_objects(str(tmp_path)), "old"), make_plan(parse_spec(text))
    store.create(text, plan)
    config = plan.runs[-1].config
    shares = {"share_embedding": 0.6, "share_readout": 0.8}
    store.create_calibration({config.control_id or "": {"w_c": 12.5, **shares}})
    find = stored_ancestry(store.objects)
    if arch == "product":
        (ancestor,) = find(f"old/{config.run_id}")
        assert ancestor.config == replace(config, control_id=None, w_c=12.5, **shares)
    else:
        with pytest.raises(SpecError, match=r"fork\.of: .* share_hidden of its control, which cannot be pinned"):
            find(f"old/{config.run_id}")


def test_a_calibration_that_lacks_shares_serves_the_arms_that_use_none(small_config: Make) -> None:
    run(block("_readout_only"), arms)
    written = {"c": {"w_c": 9.0, "share_embedding": 0.4, "share_hidden": 0.8, "share_readout": 0.447213595499958}}
    common: dict[str, Any] = {"rho": 1.0, "clamp_from_step": 1, "control_id": "c"}
    of_mlp = reference_of(small_config(arm="readout", **common), written)
    assert of_mlp == Reference(9.0, {"embedding": 0.4, "hidden": 0.8, "readout": 0.447213595499958})
    common["arch"] = "transformer"
    assert reference_of(small_config(arm="clamp", **common), written) == Reference(9.0)
    with pytest.raises(CalibrationError, match=r"control c: .* has no share_position, share_attention, .* delete"):
        reference_of(small_config(arm="readout", **common), written)


def test_every_layer_has_a_column_for_its_norm() -> None:
    layers = {layer for architecture in architectures.ARCHITECTURES.values() for layer in architecture.layers}
    assert {f"norm_{layer}" for layer in layers} <= set(schema.READING_NAMES)
