"""Split runs into packs: runs of equal tensor shape, trained by one worker, the longest first.

Packs are small enough to balance the workers and large enough that starting one costs nothing. A pack's id is the hash
of its runs, so the same remaining work gives the same packs on every machine.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from grok_sweeps.plan.estimate import expected_steps, step_flops
from grok_sweeps.plan.plan import PlannedRun

PACKS_A_WORKER = 4
"""Packs a worker at least, so that uneven packs even out."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Runs trained together, in the order in which they take a lane; `flops` is the expected work."""

    pack_id: str
    runs: tuple[PlannedRun, ...]
    flops: float


def make_packs(runs: Sequence[PlannedRun], *, workers: int, lanes: int, pack_runs: int | None = None) -> list[Pack]:
    """Split `runs` into packs, heaviest first; every run is in exactly one.

    `pack_runs` fixes the most runs a pack may hold; otherwise each shape gets `PACKS_A_WORKER` packs a worker, as long
    as every pack still fills its `lanes`.
    """
    shapes: dict[tuple[object, ...], list[PlannedRun]] = defaultdict(list)
    for run in runs:
        shapes[run.config.shape].append(run)
    packs = []
    for members in shapes.values():
        n_packs = -(-len(members) // pack_runs) if pack_runs else min(workers * PACKS_A_WORKER, len(members) // lanes)
        packs += _balanced(members, max(1, n_packs), pack_runs or len(members))
    return sorted(packs, key=lambda pack: (-pack.flops, pack.pack_id))


def _balanced(runs: Sequence[PlannedRun], n_packs: int, most: int) -> list[Pack]:
    """Longest run first into the lightest pack that has room."""
    costed = sorted(((_cost(r), r) for r in runs), key=lambda x: (-x[0], x[1].run_id))
    bins: list[list[PlannedRun]] = [[] for _ in range(n_packs)]
    heap = [(0.0, k) for k in range(n_packs)]
    loads = [0.0] * n_packs
    for cost, run in costed:
        load, k = heapq.heappop(heap)
        bins[k].append(run)
        loads[k] = load + cost
        if len(bins[k]) < most:
            heapq.heappush(heap, (loads[k], k))
    return [Pack(_pack_id(members), tuple(members), load) for members, load in zip(bins, loads, strict=True) if members]


def pack_of(runs: Sequence[PlannedRun]) -> Pack:
    """The pack of `runs`, in their order."""
    return Pack(_pack_id(runs), tuple(runs), sum(_cost(r) for r in runs))


def _pack_id(runs: Sequence[PlannedRun]) -> str:
    return hashlib.sha256("\n".join(r.run_id for r in runs).encode()).hexdigest()[:12]


def _cost(run: PlannedRun) -> float:
    """Expected floating-point operations."""
    return expected_steps(run.config) * step_flops(run.config)
