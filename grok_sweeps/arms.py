"""The arms: what is done to the weight norm, each one entry of `ARMS` (protocol, Weight norm and arms).

An arm turns a run's config and the numbers it refers to into the norms that are held. To add one, write that function
and register it here with the axes that it uses; it is then a value of the axis `arm`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grok_sweeps.config import RunConfig

LAYERS = ("embedding", "hidden", "readout")
"""Layers whose shares can be pinned, and among which `allocation` splits the norm."""
THETA_MIN, THETA_MAX = 0.02, 0.98


@dataclass(frozen=True, slots=True)
class Held:
    """The norm of all weights that a run is held at and, where the arm sets them, each layer's own by its name."""

    norm: float
    layers: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """What an arm may refer to: w_c, the control's shares by layer (their squares sum to 1), the norm at the fork."""

    w_c: float | None = None
    shares: Mapping[str, float] | None = None
    fork_norm: float | None = None


def _free(config: RunConfig, reference: Reference) -> Held | None:  # noqa: ARG001
    return None


def _clamp(config: RunConfig, reference: Reference) -> Held:
    return Held(_dose(config, reference.w_c))


def _fork(config: RunConfig, reference: Reference) -> Held:
    return Held(_dose(config, reference.fork_norm))


def _allocation(config: RunConfig, reference: Reference) -> Held:
    """Hold W1 at its share; of the rest of the squared norm W2 takes theta = clip(theta0 (1 + gamma)), E the remainder.

    theta0 = f_W2² / (f_E² + f_W2²) is the control's own fraction, so gamma = 0 keeps the control's proportions.
    """
    assert reference.shares is not None
    assert config.gamma is not None
    norm = _dose(config, reference.w_c)
    f_embedding, f_hidden, f_readout = (reference.shares[layer] for layer in LAYERS)
    theta = f_readout**2 / (f_embedding**2 + f_readout**2) * (1 + config.gamma)
    theta = min(max(theta, THETA_MIN), THETA_MAX)
    rest = (1 - f_hidden**2) ** 0.5
    layers = {
        "embedding": norm * rest * (1 - theta) ** 0.5,
        "hidden": norm * f_hidden,
        "readout": norm * rest * theta**0.5,
    }
    return Held(norm, layers)


def _dose(config: RunConfig, reference: float | None) -> float:
    assert config.rho is not None
    assert reference is not None
    return config.rho * reference


SHARES = tuple(f"share_{layer}" for layer in LAYERS)


@dataclass(frozen=True, slots=True)
class Arm:
    """One value of the axis `arm`: the norms it holds, and the axes that it alone or with others uses."""

    held: Callable[[RunConfig, Reference], Held | None]
    axes: tuple[str, ...] = ()

    @property
    def uses_shares(self) -> bool:
        """Whether it refers to the control's layer shares."""
        return not set(SHARES).isdisjoint(self.axes)


ARMS: dict[str, Arm] = {
    "free": Arm(_free),
    "clamp": Arm(_clamp, ("rho", "w_c", "clamp_from_step")),
    "allocation": Arm(_allocation, ("rho", "w_c", "clamp_from_step", "gamma", *SHARES)),
    "fork": Arm(_fork, ("rho",)),
}

ARM_AXES: tuple[str, ...] = tuple(dict.fromkeys(axis for arm in ARMS.values() for axis in arm.axes))
"""Axes that are None in a run whose arm does not use them."""
