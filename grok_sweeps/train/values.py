"""Tensors that keep their place while what they hold changes, which a captured CUDA graph needs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def take_values(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Copy tensors into tensors, in place, if they are as many of the same shapes; say whether."""
    if [x.shape for x in mine] != [x.shape for x in theirs]:
        return False
    for own, other in zip(mine, theirs, strict=True):
        own.copy_(other)
    return True


def in_place(held: Tensor | None, value: Tensor) -> Tensor:
    """`value`, in the tensor that already holds one of its shape."""
    return value if held is None or not take_values([held], [value]) else held
