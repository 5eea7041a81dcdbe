"""What must fit together within one block of a spec: every fault is one line with the key, the value and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from grok_sweeps.architectures import ARCHITECTURES, HEADS
from grok_sweeps.arms import ARM_AXES, ARMS, LAYERS, SHARES
from grok_sweeps.errors import SpecError
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.tasks import TASKS, is_prime, n_pairs

if TYPE_CHECKING:
    from grok_sweeps.spec.model import RunAxes

SHARES_TOLERANCE = 1e-3
"""How far the squares of pinned shares may sum from 1: published ones have six digits."""


def check_block(axes: RunAxes, where: str, written: frozenset[str], *, forked: bool) -> None:
    """Refuse a block whose keys contradict each other; `written` are the keys that should have an effect.

    Raises:
        SpecError: naming the first fault.
    """
    for fault in _faults(axes, written, forked):
        raise SpecError(f"{where}.{fault}")


def seeds_in_block(axes: RunAxes) -> int:
    """Seeds drawn as one block with `seeding: paper`.

    Raises:
        SpecError: a list of seeds does not say how many.
    """
    if axes.seeds_in_block is not None:
        return axes.seeds_in_block
    if isinstance(axes.seeds, range):
        return len(axes.seeds)
    raise SpecError(
        f"seeds_in_block: with `seeding: paper` and a list of seeds ({list(axes.seeds)[:4]}…) the block they are "
        "slices of must be named; add for example `seeds_in_block: 12`."
    )


def unused_keys(axes: RunAxes) -> frozenset[str]:
    """Keys that nothing in this block uses, whatever their values."""
    used = {name for arm in axes.arm for name in ARMS[arm].axes}
    unused = {name for name in ARM_AXES if name not in used}
    if not any("heads" in ARCHITECTURES[arch].axes for arch in axes.arch):
        unused.add("heads")
    if "sgd" not in axes.optimizer:
        unused.add("momentum")
    if "paper" not in axes.seeding:
        unused.add("seeds_in_block")
    return frozenset(unused)


def _faults(axes: RunAxes, written: frozenset[str], forked: bool) -> Iterator[str]:
    yield from _unused_faults(axes, written)
    yield from _arm_faults(axes, forked)
    yield from _share_faults(axes)
    yield from _network_faults(axes)
    yield from _data_faults(axes)
    yield from _seeding_faults(axes)


def _unused_faults(axes: RunAxes, written: frozenset[str]) -> Iterator[str]:
    for name in sorted(written & unused_keys(axes)):
        if name in ARM_AXES:
            owners = [arm for arm in ARMS if name in ARMS[arm].axes]
            yield (
                f"{name}: is used by arm {', '.join(map(repr, owners))} only, and arm is {list(axes.arm)}; set "
                f"`arm: {owners[0]}` or leave {name} out."
            )
        elif name == "heads":
            yield f"heads: arch is {list(axes.arch)}, which has no attention; leave heads out."
        elif name == "momentum":
            yield f"momentum: is used by optimizer 'sgd' only, and optimizer is {list(axes.optimizer)}; leave it out."
        else:
            yield f"{name}: is used with `seeding: paper` only; set that or leave it out."


def _arm_faults(axes: RunAxes, forked: bool) -> Iterator[str]:
    used = {name for arm in axes.arm for name in ARMS[arm].axes}
    if "w_c" in used and axes.w_c is None:
        arm = next(arm for arm in axes.arm if "w_c" in ARMS[arm].axes)
        yield (
            f"w_c: arm '{arm}' holds the norm at rho * w_c and needs w_c; give a number, or 'control' to train the "
            "free runs that it is read from first."
        )
    if "fork" in axes.arm and not forked:
        yield "arm: 'fork' holds the norm relative to the state it starts from; add fork: {of: control, at_step: 800}."


def _share_faults(axes: RunAxes) -> Iterator[str]:
    arms = [arm for arm in axes.arm if ARMS[arm].uses_shares]
    if not arms:
        return
    for arch in axes.arch:
        if "allocation" in arms and ARCHITECTURES[arch].layers != LAYERS:
            yield (
                f"arm: 'allocation' splits the norm among {', '.join(LAYERS)}, and arch '{arch}' has "
                f"{', '.join(ARCHITECTURES[arch].layers)}; use arch mlp."
            )
        unread = [layer for layer in ARCHITECTURES[arch].layers if f"norm_{layer}" not in READING_NAMES]
        if unread and "control" in (axes.w_c or ()):
            yield (
                f"w_c: arm '{arms[0]}' refers to the control's share of layer '{unread[0]}' of arch '{arch}', whose "
                f"norm is not read; add a column norm_{unread[0]} to schema.READINGS."
            )
    pinned = [name for name in SHARES if getattr(axes, name) is not None]
    if pinned or any(w_c != "control" for w_c in axes.w_c or ()):
        for arch in axes.arch:
            yield from _pinned_share_faults(axes, arms[0], arch, pinned)


def _pinned_share_faults(axes: RunAxes, arm: str, arch: str, pinned: list[str]) -> Iterator[str]:
    """Shares are pinned for each layer of the architecture and no other."""
    names = [f"share_{layer}" for layer in ARCHITECTURES[arch].layers]
    unknown = [name for name in names if name not in SHARES]
    if unknown:
        yield (
            f"w_c: arm '{arm}' refers to all layer shares of arch '{arch}', and {', '.join(unknown)} cannot be pinned; "
            "set w_c: control and pin no share."
        )
    if not pinned:
        yield (
            f"{names[0]}: with a pinned w_c arm '{arm}' needs the control's layer shares too; add {', '.join(names)}, "
            "or set w_c: control."
        )
    for name in names:
        if pinned and name not in pinned:
            yield (
                f"{name}: is missing beside {pinned[0]}; pin all layer shares of arch '{arch}', {', '.join(names)}, or "
                "none with w_c: control."
            )
    for name in pinned:
        if name not in names:
            yield f"{name}: arch '{arch}' has no layer {name.removeprefix('share_')}; leave it out."
    for shares in product(*(getattr(axes, name) or () for name in names)):
        if abs(sum(share**2 for share in shares) - 1) > SHARES_TOLERANCE:
            yield (
                f"{names[0]}: the squares of {', '.join(f'{s:g}' for s in shares)} sum to "
                f"{sum(s**2 for s in shares):.4f}; those of the shares of one norm sum to 1."
            )


def _network_faults(axes: RunAxes) -> Iterator[str]:
    if any("heads" in ARCHITECTURES[arch].axes for arch in axes.arch):
        for heads, d_model in product(axes.heads or (HEADS,), axes.d_model):
            if d_model % heads:
                yield f"heads: {heads} heads do not divide d_model {d_model}; change one of them."
    if "stablemax" in axes.normalizer and "mse" in axes.loss:
        yield "normalizer: 'stablemax' is for loss 'ce'; mean squared error does not normalise the logits."


def _data_faults(axes: RunAxes) -> Iterator[str]:
    for task, p in product(axes.task, axes.p):
        if TASKS[task].needs_prime and not is_prime(p):
            yield f"p: {p} is not a prime, and task '{task}' is defined for primes only; choose a prime."
    for task, p, fraction in product(axes.task, axes.p, axes.train_fraction):
        pairs = n_pairs(task, p)
        n_train = int(fraction * pairs)
        if not 1 <= n_train < pairs:
            yield (
                f"train_fraction: {fraction:g} of the {pairs} pairs at p = {p} leaves no train pair or no test pair; "
                f"it must be at least 1/{pairs} and below 1."
            )
        for size in axes.batch_size or ():
            if size > n_train:
                yield f"batch_size: {size} is more than the {n_train} train pairs at p = {p}; leave it out for all."


def _seeding_faults(axes: RunAxes) -> Iterator[str]:
    if "paper" not in axes.seeding:
        return
    for arch in axes.arch:
        if not ARCHITECTURES[arch].paper_seeding:
            known = " and ".join(name for name, entry in ARCHITECTURES.items() if entry.paper_seeding)
            yield f"seeding: 'paper' is known for arch {known}, and arch is '{arch}'; use `seeding: run`."
    block = seeds_in_block(axes)
    beyond = [s for s in axes.seeds if s >= block]
    if beyond:
        yield (
            f"seeds: seed {beyond[0]} is not in a block of {block}; with `seeding: paper` seeds are slices 0 to "
            "seeds_in_block - 1. Raise seeds_in_block or drop the seed."
        )
