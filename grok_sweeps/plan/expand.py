"""Cross the axes of every block into run configs, and check what depends on several keys.

Counting comes before crossing, so that a slip that asks for 10⁹ runs costs a message and not the machine. Values that a
run does not use are set to None, so that runs which are equal have equal identities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from grok_sweeps.architectures import ARCHITECTURES, HEADS
from grok_sweeps.arms import ARM_AXES, ARMS
from grok_sweeps.config import RunConfig
from grok_sweeps.errors import SpecError
from grok_sweeps.plan.check import check_block, seeds_in_block, unused_keys

if TYPE_CHECKING:
    from grok_sweeps.spec.model import RunAxes, SweepSpec

MAX_RUNS = 1_000_000
"""Most runs of one sweep; the largest store this version is built for."""

NOT_CROSSED = ("seeds", "seeds_in_block", "fork")
"""Keys that are no axes, or are expanded apart; the others are crossed in their order, outermost first, seeds last."""

FIXED_BY_PARENT = (
    "arch", "task", "p", "train_fraction", "d_model", "hidden", "heads", "dtype", "optimizer", "seeding", "seeds",
)  # fmt: skip
"""What a fork of a run cannot change: the state's shape and meaning, the data, the seed."""

_FLOATS = frozenset(
    (
        "tau", "lr", "weight_decay", "train_fraction", "rho", "w_c", "gamma", "momentum", "label_smoothing",
        "logit_penalty", "share_embedding", "share_hidden", "share_readout",
    )
)  # fmt: skip
MSE_CLAMP_FROM_STEP = 50
"""The paper's first held step under mean squared error; under cross-entropy it is the architecture's."""
MOMENTUM = 0.9
"""The usual momentum of sgd; the paper does not use it."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A run that a fork starts from. `origin` names the stored run it repeats, SWEEP/RUN_ID, or is empty."""

    config: RunConfig
    origin: str = ""


Ancestry = Callable[[str], tuple[Ancestor, ...]]
"""Finds the run SWEEP/RUN_ID and the runs it was itself forked from, youngest first."""


@dataclass(frozen=True, slots=True)
class Written:
    """A run as the spec writes it, and what it is forked from, youngest first."""

    config: RunConfig
    ancestors: tuple[Ancestor, ...] = ()


def no_ancestry(reference: str) -> tuple[Ancestor, ...]:
    """The ancestry where there is no store.

    Raises:
        SpecError: always.
    """
    raise SpecError(f"fork.of: '{reference}' is a run of a store, and there is none to look in; name one.")


def check_size(spec: SweepSpec) -> int:
    """Return how many runs the blocks write out, before equal ones are joined.

    Raises:
        SpecError: more than `MAX_RUNS`.
    """
    blocks = spec.resolved_blocks()
    sizes = [prod(n for _, n in _lengths(b)) for b in blocks]
    total = sum(sizes)
    if total > MAX_RUNS:
        largest = max(range(len(blocks)), key=lambda k: sizes[k])
        factors = " x ".join(f"{name} {n:,}" for name, n in _lengths(blocks[largest]) if n > 1)
        raise SpecError(
            f"runs: {total:,} runs ({factors}); a sweep may have {MAX_RUNS:,} at most. Shorten an axis or split the "
            "sweep."
        )
    return total


def expand(spec: SweepSpec, ancestry: Ancestry = no_ancestry) -> Iterator[Written]:
    """Yield every run the spec writes out, in order; equal ones may repeat.

    A run that waits for its control has `control_id` None and `w_c` None here; the plan sets its `control_id`.

    Raises:
        SpecError: keys that contradict each other.
    """
    for where, axes, written in _named_blocks(spec):
        fork = axes.fork
        if fork is None:
            yield from (Written(c) for c in _configs(axes, where, written))
            continue
        for of, at_step in product(fork.of, fork.at_step):
            if of == "control":
                for config in _configs(axes, where, written, at_step):
                    parent = config.control().prefix(at_step)
                    yield _forked(config, (Ancestor(parent),), at_step, where)
            else:
                found = ancestry(of)
                ancestors = (Ancestor(found[0].config.prefix(at_step), found[0].origin), *found[1:])
                for config in _configs(_laid_over(found[0].config, axes, where), where, written, at_step):
                    yield _forked(config, ancestors, at_step, where)


def _forked(config: RunConfig, ancestors: tuple[Ancestor, ...], at_step: int, where: str) -> Written:
    born = ancestors[0].config.fork_step or 0
    if not born < at_step < config.max_steps:
        raise SpecError(
            f"{where}.fork.at_step: {at_step} is not between the parent's first step ({born + 1}) and the fork's "
            f"budget; choose another, or raise max_steps (now {config.max_steps})."
        )
    parent = ancestors[0].config
    values = {**config.to_dict(), "arch_version": parent.arch_version}
    return Written(RunConfig(**{**values, "fork_cell": parent.cell_id, "fork_step": at_step}), ancestors)


def _laid_over(parent: RunConfig, axes: RunAxes, where: str) -> RunAxes:
    """The parent's own values as axes, with what the spec writes laid over them."""
    written = axes.model_fields_set
    own = parent.to_dict()
    values = {name: (own[name],) for name in _crossed(axes) if own[name] is not None}
    values |= {"seeds": (parent.seed,)}
    for name in FIXED_BY_PARENT:
        if name in written and tuple(getattr(axes, name)) != values.get(name):
            raise SpecError(
                f"{where}.{name}: a fork of a run has its parent's {name}, {list(values.get(name, ()))}; leave it out."
            )
    kept = {name: value for name, value in values.items() if name not in written}
    return axes.model_copy(update={**kept, "seeds_in_block": parent.seeds_in_block})


def _configs(axes: RunAxes, where: str, written: frozenset[str], fork_step: int | None = None) -> Iterator[RunConfig]:
    check_block(axes, where, written, forked=fork_step is not None)
    values = {name: getattr(axes, name) or (None,) for name in _crossed(axes)}
    fixed = {name: v[0] for name, v in values.items() if len(v) == 1}
    varied = {name: v for name, v in values.items() if len(v) > 1}
    for point in product(*varied.values()):
        resolved = _resolved({**fixed, **dict(zip(varied, point, strict=True))})
        block = seeds_in_block(axes) if resolved["seeding"] == "paper" else None
        for seed in axes.seeds:
            yield RunConfig(**resolved, seeds_in_block=block, seed=seed)


def _resolved(point: dict[str, Any]) -> dict[str, Any]:
    """One point with defaults that depend on other keys, and None for what it does not use."""
    architecture, arm = ARCHITECTURES[point["arch"]], ARMS[point["arm"]]
    if point["clamp_from_step"] is None:
        point["clamp_from_step"] = MSE_CLAMP_FROM_STEP if point["loss"] == "mse" else architecture.clamp_from_step
    for name in ("lr", "hidden"):
        if point[name] is None:
            point[name] = getattr(architecture, name)
    point["arch_version"] = architecture.version
    point["heads"] = (point["heads"] or HEADS) if "heads" in architecture.axes else None
    point["momentum"] = (
        (MOMENTUM if point["momentum"] is None else point["momentum"]) if point["optimizer"] == "sgd" else None
    )
    point.update(dict.fromkeys(name for name in ARM_AXES if name not in arm.axes))
    if point["w_c"] == "control":
        point["w_c"] = None
    for name in _FLOATS:
        point[name] = None if point[name] is None else float(point[name])
    return point


def _crossed(axes: RunAxes) -> tuple[str, ...]:
    return tuple(name for name in type(axes).model_fields if name not in NOT_CROSSED)


def _lengths(axes: RunAxes) -> Iterator[tuple[str, int]]:
    for name in _crossed(axes):
        yield name, len(getattr(axes, name) or (None,))
    if axes.fork is not None:
        yield "fork.of", len(axes.fork.of)
        yield "fork.at_step", len(axes.fork.at_step)
    yield "seeds", len(axes.seeds)


def _named_blocks(spec: SweepSpec) -> Iterator[tuple[str, RunAxes, frozenset[str]]]:
    """Each block's name for messages, its complete axes, and the keys that should have an effect in it.

    A key of `runs` is excused from a block that has no use for it, but not from all of them.
    """
    blocks = spec.resolved_blocks()
    common = frozenset(spec.runs.model_fields_set)
    if not spec.blocks:
        yield "runs", blocks[0], common
        return
    useless = common.intersection(*(unused_keys(axes) for axes in blocks))
    for k, (own, axes) in enumerate(zip(spec.blocks, blocks, strict=True)):
        yield f"blocks[{k}]", axes, frozenset(own.model_fields_set) | useless
