"""The peers, JAX where it is installed, and our engines train a case to the weights that float64 gives, to rounding."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from grok_sweeps.engines import ENGINES
from tests.bench.case import MATRICES, Case
from tests.bench.ours import config_of, named_weights, stack_of
from tests.rounding import assert_near


class ExactCase(Case):
    """The case in float64, from the same numbers."""

    def parameters(self, seed: int) -> dict[str, Tensor]:
        return {name: value.double() for name, value in super().parameters(seed).items()}


CPU = torch.device("cpu")
CASE, EXACT = (kind(p=11, seeds=2, tau=1.3) for kind in (Case, ExactCase))
N_STEPS = 12
PEERS = ("plain", "jax_vmap")


def peer(name: str, case: Case = CASE) -> dict[str, Tensor]:
    contender = import_module(f"tests.bench.peers.{name}").trainer(case, CPU)
    contender.train(5)
    contender.train(N_STEPS - 5)
    return contender.weights()


def engine(name: str) -> dict[str, Tensor]:
    configs = [config_of(CASE, seed) for seed in range(CASE.seeds)]
    stack = stack_of(configs, name, CPU)
    stack.advance(N_STEPS)
    return named_weights(configs[0], stack)


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    torch.set_num_threads(1)
    return peer("stacked")


@pytest.fixture(scope="module")
def exact() -> dict[str, Tensor]:
    torch.set_num_threads(1)
    return peer("stacked", EXACT)


def contenders() -> list[tuple[str, Callable[[], dict[str, Tensor]]]]:
    peers = [name for name in PEERS if name != "jax_vmap" or find_spec("jax")]
    found: list[tuple[str, Callable[[], dict[str, Tensor]]]] = [(name, lambda n=name: peer(n)) for name in peers]
    return found + [(name, lambda n=name: engine(n)) for name in ENGINES["cpu"]]


@pytest.mark.rounding
@pytest.mark.parametrize(("name", "train"), contenders())
def test_every_way_to_train_gives_the_same_weights(
    name: str, train: Callable[[], dict[str, Tensor]], reference: dict[str, Tensor], exact: dict[str, Tensor]
) -> None:
    found = train()
    for parameter, expected in exact.items():
        assert expected.dtype == torch.float64
        ours, plain, right = (x[parameter].double().flatten(1) for x in (found, reference, exact))
        assert_near(ours, plain, right, parameter)


def test_the_reference_holds_the_norm_and_has_moved(reference: dict[str, Tensor]) -> None:
    for seed in range(CASE.seeds):
        square = sum(float(reference[name][seed].double().square().sum()) for name in MATRICES)
        assert square**0.5 == pytest.approx(CASE.norm, rel=1e-5)
        begun = CASE.parameters(seed)["W2"]
        now = reference["W2"][seed]
        assert torch.linalg.vector_norm(now / now.norm() - begun / begun.norm()) > 1e-2
