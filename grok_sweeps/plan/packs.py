"""Split runs into packs: runs of equal tensor shape, trained by one worker, the longest first.

Packs are small enough to balance the workers and large enough that starting one costs nothing. A pack's id is the hash
of its runs, so the same remaining work gives the same packs on every machine.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.estimate import expected_steps, step_flops
from grok_sweeps.plan.plan import PlannedRun

PACKS_A_WORKER = 4
"""Packs a worker at least, so that uneven packs even out."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Runs trained together by one worker, in the order in which they take one of its `lanes`.

    `flops` is the expected work.
    """

    pack_id: str
    runs: tuple[PlannedRun, ...]
    flops: float
    lanes: int


def make_packs(
    runs: Sequence[PlannedRun], *, workers: int, lanes: Callable[[RunConfig], int], pack_runs: int | None = None
) -> list[Pack]:
    """Split `runs` into packs, heaviest first; every run is in exactly one.

    `lanes` says how many runs of a shape a worker trains at once. `pack_runs` fixes the most runs a pack may hold;
    otherwise each shape gets `PACKS_A_WORKER` packs a worker, as long as every pack still fills its lanes, and at least
    one a worker.
    """
    shapes: dict[tuple[object, ...], list[PlannedRun]] = defaultdict(list)
    for run in runs:
        shapes[run.config.shape].append(run)
    packs = []
    for members in shapes.values():
        width = lanes(members[0].config)
        n_packs = -(-len(members) // pack_runs) if pack_runs else min(workers * PACKS_A_WORKER, len(members) // width)
        if not pack_runs:
            n_packs = max(n_packs, min(workers, len(members)))  # narrow packs rather than idle workers
        packs += [pack_of(held, width) for held in _balanced(members, n_packs, pack_runs or len(members))]
    return sorted(packs, key=lambda pack: (-pack.flops, pack.pack_id))


def _balanced(runs: Sequence[PlannedRun], n_packs: int, most: int) -> list[list[PlannedRun]]:
    """Longest run first into the lightest pack that has room."""
    costed = sorted(((_cost(r), r) for r in runs), key=lambda x: (-x[0], x[1].run_id))
    bins: list[list[PlannedRun]] = [[] for _ in range(n_packs)]
    heap = [(0.0, k) for k in range(n_packs)]
    for cost, run in costed:
        load, k = heapq.heappop(heap)
        bins[k].append(run)
        if len(bins[k]) < most:
            heapq.heappush(heap, (load + cost, k))
    return [members for members in bins if members]


def pack_of(runs: Sequence[PlannedRun], lanes: int) -> Pack:
    """The pack of `runs`, in their order, for a worker that trains at most `lanes` of them at once."""
    pack_id = hashlib.sha256("\n".join(r.run_id for r in runs).encode()).hexdigest()[:12]
    return Pack(pack_id, tuple(runs), sum(_cost(r) for r in runs), min(lanes, len(runs)))


def _cost(run: PlannedRun) -> float:
    """Expected floating-point operations."""
    return expected_steps(run.config) * step_flops(run.config)
