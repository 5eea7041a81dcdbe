"""Cross the axes of every block into run configs, and check what depends on several keys.

Counting comes before crossing, so that a slip that asks for 10⁹ runs costs a message and not the machine. Values an
arm does not use are set to None, so that runs which are equal have equal identities.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from grok_sweeps.config import RunConfig
from grok_sweeps.errors import SpecError
from grok_sweeps.spec.model import RunAxes, SweepSpec

MAX_RUNS = 1_000_000
"""Most runs of one sweep; the largest store this version is built for."""

CROSSED = (
    "arch",
    "task",
    "loss",
    "optimizer",
    "dtype",
    "p",
    "train_fraction",
    "d_model",
    "hidden",
    "lr",
    "weight_decay",
    "seeding",
    "max_steps",
    "eval_every",
    "arm",
    "w_c",
    "rho",
    "tau",
    "clamp_from_step",
)
"""Axes in the order in which they are crossed, outermost first; seeds come last of all."""

CLAMP_ONLY = ("rho", "w_c", "clamp_from_step")


def check_size(spec: SweepSpec) -> int:
    """Return how many runs the blocks write out, before equal ones are joined.

    Raises:
        SpecError: more than `MAX_RUNS`.
    """
    blocks = spec.resolved_blocks()
    sizes = [prod(len(getattr(b, name) or (None,)) for name in CROSSED) * len(b.seeds) for b in blocks]
    total = sum(sizes)
    if total > MAX_RUNS:
        largest = max(range(len(blocks)), key=lambda k: sizes[k])
        axes = {name: len(getattr(blocks[largest], name) or (None,)) for name in (*CROSSED, "seeds")}
        factors = " x ".join(f"{name} {n:,}" for name, n in axes.items() if n > 1)
        raise SpecError(
            f"runs: {total:,} runs ({factors}); a sweep may have {MAX_RUNS:,} at most. Shorten an axis or split the "
            "sweep."
        )
    return total


def expand(spec: SweepSpec) -> Iterator[RunConfig]:
    """Yield the config of every run the spec writes out, in order; equal ones may repeat.

    A run that waits for its control has `control_id` None and `w_c` None here; the plan sets its `control_id`.
    """
    for where, axes, written in _named_blocks(spec):
        _check(axes, where, written)
        for values in product(*(getattr(axes, name) or (None,) for name in CROSSED)):
            point = dict(zip(CROSSED, values, strict=True))
            clamped = point["arm"] == "clamp"
            if not clamped:
                point.update(dict.fromkeys(CLAMP_ONLY))
            if point["w_c"] == "control":
                point["w_c"] = None
            block = _seeds_in_block(axes) if point["seeding"] == "paper" else None
            for name in ("tau", "lr", "weight_decay", "train_fraction", "rho", "w_c"):
                point[name] = None if point[name] is None else float(point[name])
            for seed in axes.seeds:
                yield RunConfig(**point, seeds_in_block=block, seed=seed)


def _named_blocks(spec: SweepSpec) -> Iterator[tuple[str, RunAxes, frozenset[str]]]:
    """Each block's name for messages, its complete axes, and the keys that should have an effect in it.

    A key of `runs` is excused from a block that has no use for it, but not from all of them.
    """
    blocks = spec.resolved_blocks()
    if not spec.blocks:
        yield "runs", blocks[0], frozenset(spec.runs.model_fields_set)
        return
    anywhere_clamped = any("clamp" in b.arm for b in blocks)
    for k, (own, axes) in enumerate(zip(spec.blocks, blocks, strict=True)):
        inherited = frozenset() if anywhere_clamped else frozenset(spec.runs.model_fields_set)
        yield f"blocks[{k}]", axes, frozenset(own.model_fields_set) | inherited


def _check(axes: RunAxes, where: str, written: frozenset[str]) -> None:
    if "clamp" in axes.arm:
        if axes.w_c is None:
            raise SpecError(
                f"{where}.w_c: arm 'clamp' holds the norm at rho * w_c and needs w_c; give a number, or 'control' to "
                "train the free runs that it is read from first."
            )
    else:
        unused = [name for name in CLAMP_ONLY if name in written]
        if unused:
            raise SpecError(
                f"{where}.{unused[0]}: is used by arm 'clamp' only, and arm is {list(axes.arm)}; add `arm: clamp` or "
                f"leave {unused[0]} out."
            )
    for p, fraction in product(axes.p, axes.train_fraction):
        n_pairs = p * p
        if not 1 <= int(fraction * n_pairs) < n_pairs:
            raise SpecError(
                f"{where}.train_fraction: {fraction:g} of the {n_pairs} pairs at p = {p} leaves no train pair or no "
                f"test pair; it must be at least 1/{n_pairs} and below 1."
            )
    if "paper" in axes.seeding:
        block = _seeds_in_block(axes)
        beyond = [s for s in axes.seeds if s >= block]
        if beyond:
            raise SpecError(
                f"{where}.seeds: seed {beyond[0]} is not in a block of {block}; with `seeding: paper` seeds are slices "
                "0 to seeds_in_block - 1. Raise seeds_in_block or drop the seed."
            )
    elif "seeds_in_block" in written:
        raise SpecError(f"{where}.seeds_in_block: is used with `seeding: paper` only; set that or leave it out.")


def _seeds_in_block(axes: RunAxes) -> int:
    if axes.seeds_in_block is not None:
        return axes.seeds_in_block
    if isinstance(axes.seeds, range):
        return len(axes.seeds)
    raise SpecError(
        f"seeds_in_block: with `seeding: paper` and a list of seeds ({list(axes.seeds)[:4]}…) the block they are "
        "slices of must be named; add for example `seeds_in_block: 12`."
    )
