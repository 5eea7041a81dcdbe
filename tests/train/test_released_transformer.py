"""The transformer whose runs the paper released, at the level of its numbers; and runs of the older form."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.config import RunConfig, run_config_from_dict
from grok_sweeps.plan import make_plan
from grok_sweeps.spec import load_spec, parse_spec
from grok_sweeps.train.network import network_of
from tests.train.packs import stack_of

Make = Callable[..., RunConfig]


def control() -> list[RunConfig]:
    """The twelve control runs."""
    runs = [run.config for run in make_plan(load_spec("paper/transformer")[0]).runs]
    return [config for config in runs if config.arm == "free"]


def seed_means(readings: list[dict[str, float]]) -> tuple[float, float]:
    """Mean weight norm and logit scale over seeds."""
    return tuple(statistics.fmean(r[name] for r in readings) for name in ("weight_norm", "logit_scale"))  # type: ignore[return-value]


def test_weights_splits_and_first_step_are_the_released_ones() -> None:
    configs = control()
    stack = stack_of(configs)
    stack.advance(1)
    norm, scale = seed_means([dict(values) for values in stack.read(range(len(configs)))])
    assert (norm, scale) == pytest.approx((35.6709366, 1.0642865), rel=1e-7)


@pytest.mark.slow
def test_the_forward_pass_is_the_released_one_200_steps_on() -> None:
    """Within the growth of float32's rounding; with one of the two changes alone it is off by 3 to 12 %."""
    configs = control()
    stack = stack_of(configs)
    while stack.steps[0] < 200:
        stack.advance(25)
    found = seed_means([dict(values) for values in stack.read(range(len(configs)))])
    assert found == pytest.approx((50.232986, 74.002693), rel=1e-3)


def test_a_run_of_the_older_form_keeps_its_identity_and_its_network() -> None:
    new = control()[0]
    stored = {name: value for name, value in new.to_dict().items() if name != "arch_version"}
    old = run_config_from_dict(stored)
    assert (old.arch_version, new.arch_version) == (1, 2)
    assert old.run_id != new.run_id
    assert network_of(old).n_classes == new.p + 1
    assert network_of(new).n_classes == new.p
    for config, scale in ((old, 0.1), (new, 1.0)):
        network = network_of(config)
        assert network.layout.n_parameters == ARCHITECTURES[config.arch].n_parameters(config)
        (position,) = [q for q in network.layout.parameters if q.name == "position"]
        assert position.divisor == pytest.approx(config.d_model**0.5 / scale)


def test_the_transformer_with_layernorm_is_what_it_was() -> None:
    text = "name: a\nruns: {arch: transformer, p: 7, d_model: 8, hidden: 8, heads: 2, seeds: 1}\n"
    (run,) = make_plan(parse_spec(text)).runs
    assert run.config.arch_version == 1
    assert network_of(run.config).n_classes == 8


def test_a_fork_of_an_older_run_has_its_parents_form(small_config: Make) -> None:
    old = replace(small_config(0), arch="transformer_no_layernorm", heads=2, arch_version=1)
    assert old.prefix(10).arch_version == 1
    assert old.control().arch_version == 1
