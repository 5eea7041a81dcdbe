"""How far float32 may be from float64: a multiple of what plain torch itself is off, whatever processor this is.

Two float32 computations of one number differ by their order of summation, which is the processor's vectors' to choose.
So nothing here is compared with another float32 computation: each is held to float64, and plain torch says by its own
error how hard the number is. Where Adam divides a gradient near its epsilon, as from moments of zero it does, rounding
becomes a whole step; there the gradient is compared, and steps begin at moments that training has filled.
"""

from __future__ import annotations

from torch import Tensor, finfo, float32

EPS = finfo(float32).eps
TIMES_PLAIN = 8.0
"""Twice the largest seen over engines, shapes and instruction sets."""
FLOOR = 16 * EPS
"""Below this no multiple is asked for: plain torch may be exact by luck, in a network of ten weights above all."""


def allowed(error_of_plain: float, floor: float = FLOOR) -> float:
    """The relative error that another float32 computation may have where plain torch's is this."""
    return max(TIMES_PLAIN * error_of_plain, floor)


def relative(ours: Tensor, exact: Tensor) -> float:
    """Largest distance over lanes, relative to the lane's length."""
    return float(((ours - exact).norm(dim=1) / exact.norm(dim=1)).max())


def assert_near(ours: Tensor, plain: Tensor, exact: Tensor, what: str = "", floor: float = FLOOR) -> None:
    """Fail where `ours`, [L, M], is further from `exact` than rounding explains."""
    error, bound = relative(ours, exact), allowed(relative(plain, exact), floor)
    assert error <= bound, f"{what}: {error:.2g} from float64, {bound:.2g} is allowed"
