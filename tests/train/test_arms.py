"""The norms that arms hold, for any dose, shares and gamma; and what holding them does to the weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_sweeps.arms import ARMS, THETA_MAX, THETA_MIN, Held, Reference
from grok_sweeps.config import RunConfig
from grok_sweeps.train.network import Layout, Parameter
from grok_sweeps.train.optimizers import hold
from tests.rounding import FLOOR

many = settings(max_examples=200)
SHARE = st.floats(0.05, 1.0)
DOSES = st.floats(0.1, 3.0)
LAYOUT = Layout(
    (
        Parameter("E", (5, 4), "embedding", 1.0),
        Parameter("W1", (8, 6), "hidden", 1.0),
        Parameter("W2", (6, 5), "readout", 1.0),
        Parameter("b1", (6,)),
    )
)


def config_of(arm: str, rho: float | None = None, gamma: float | None = None) -> RunConfig:
    return RunConfig(59, 0.4, 128, 256, 1e-3, 1.0, arm, 1.0, 0, "run", 100, 25, rho=rho, gamma=gamma)


@many
@given(st.tuples(SHARE, SHARE, SHARE), st.floats(-1.0, 20.0), DOSES, st.floats(0.1, 100.0))
def test_an_allocation_moves_norm_between_embedding_and_readout_and_no_more(
    parts: tuple[float, float, float], gamma: float, rho: float, w_c: float
) -> None:
    length = math.hypot(*parts)
    embedding, hidden, readout = (part / length for part in parts)
    shares = {"embedding": embedding, "hidden": hidden, "readout": readout}
    held = ARMS["allocation"].held(config_of("allocation", rho, gamma), Reference(w_c, shares))
    assert held is not None
    assert held.layers is not None
    assert held.norm == pytest.approx(rho * w_c)
    assert math.hypot(*held.layers.values()) == pytest.approx(held.norm)
    assert held.layers["hidden"] == pytest.approx(hidden * held.norm)
    theta0 = readout**2 / (embedding**2 + readout**2)
    theta = sorted((THETA_MIN, theta0 * (1 + gamma), THETA_MAX))[1]
    assert held.layers["readout"] ** 2 / (held.layers["embedding"] ** 2 + held.layers["readout"] ** 2) == pytest.approx(
        theta
    )


def test_published_shares_of_six_digits_still_give_the_whole_norm() -> None:
    shares = {"embedding": 0.385913, "hidden": 0.803854, "readout": 0.452647}
    held = ARMS["allocation"].held(config_of("allocation", 1.0, 0.3), Reference(54.4893, shares))
    assert held is not None
    assert held.layers is not None
    assert math.hypot(*held.layers.values()) == pytest.approx(54.4893, rel=1e-12)


@many
@given(DOSES, st.floats(0.1, 100.0), st.floats(0.1, 100.0))
def test_a_dose_is_a_multiple_of_w_c_and_in_the_fork_arm_of_the_norm_there(
    rho: float, w_c: float, fork_norm: float
) -> None:
    reference = Reference(w_c, None, fork_norm)
    assert ARMS["free"].held(config_of("free"), reference) is None
    assert ARMS["clamp"].held(config_of("clamp", rho), reference) == Held(rho * w_c)
    assert ARMS["fork"].held(config_of("fork", rho), reference) == Held(rho * fork_norm)


@many
@given(st.integers(0, 10**6), st.floats(0.1, 100.0), st.none() | st.tuples(SHARE, SHARE, SHARE))
def test_holding_scales_the_matrices_to_their_norms_and_touches_nothing_else(
    seed: int, norm: float, layers: tuple[float, float, float] | None
) -> None:
    before = torch.randn(LAYOUT.n_parameters, generator=torch.Generator().manual_seed(seed))
    after = before.clone()
    held = Held(norm) if layers is None else Held(math.hypot(*layers), dict(zip(LAYOUT.layers, layers, strict=True)))
    hold(after, held, LAYOUT)
    n = LAYOUT.n_weights
    assert float(after[:n].double().norm()) == pytest.approx(held.norm, rel=1e-6)
    assert torch.equal(after[n:], before[n:])
    for k, span in enumerate(LAYOUT.layers.values()):
        ratio = after[span].double() / before[span].double()
        assert float(ratio.max() / ratio.min()) == pytest.approx(1.0, rel=1e-6), "one factor a layer"
        if layers is not None:
            assert float(after[span].double().norm()) == pytest.approx(layers[k], rel=1e-6)
    if layers is None:
        ratio = after[:n].double() / before[:n].double()
        assert float(ratio.max() / ratio.min()) == pytest.approx(1.0, rel=1e-6), "one factor for all"


def test_an_allocation_of_the_controls_own_norms_leaves_the_weights_where_they_are(
    small_config: Callable[..., RunConfig],
) -> None:
    weights = torch.randn(LAYOUT.n_parameters, generator=torch.Generator().manual_seed(1))
    norms = {layer: float(weights[span].norm()) for layer, span in LAYOUT.layers.items()}
    w_c = math.hypot(*norms.values())
    shares = {layer: norm / w_c for layer, norm in norms.items()}
    config = small_config(arm="allocation", rho=1.0, gamma=0.0, w_c=w_c, clamp_from_step=1)
    held = ARMS["allocation"].held(config, Reference(w_c, shares))
    assert held is not None
    after = weights.clone()
    hold(after, held, LAYOUT)
    torch.testing.assert_close(after, weights, rtol=FLOOR, atol=0)


def test_norms_go_to_their_layers_in_whatever_order_they_are_named() -> None:
    weights = torch.randn(LAYOUT.n_parameters, generator=torch.Generator().manual_seed(1))
    named = {"readout": 3.0, "embedding": 1.0, "hidden": 2.0}
    hold(weights, Held(14.0**0.5, named), LAYOUT)
    assert {layer: float(weights[span].norm()) for layer, span in LAYOUT.layers.items()} == pytest.approx(named)


@pytest.mark.parametrize("layers", [("embedding", "readout"), ("embedding", "hidden", "readout", "position"), ()])
def test_norms_of_other_layers_than_the_networks_are_refused(layers: tuple[str, ...]) -> None:
    weights = torch.ones(LAYOUT.n_parameters)
    with pytest.raises(ValueError, match=r"layers of the network are embedding, hidden, readout; give one for each"):
        hold(weights, Held(1.0, dict.fromkeys(layers, 1.0)), LAYOUT)
    assert torch.equal(weights, torch.ones(LAYOUT.n_parameters))
