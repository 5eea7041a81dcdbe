"""What a plan costs on a pool of devices: run-steps, device-hours, and the time until its last run ends.

The packs are those that would be made there, each worker takes the next when it is free, the longest first, and a stage
waits for the one before. Starting Ray, workers and graphs is not in it, nor what is lost with a worker.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grok_sweeps.plan.packs import Pack
from grok_sweeps.plan.rates import Rates


@dataclass(frozen=True, slots=True)
class Cost:
    """`device_hours` are those that packs hold, `wall_s` the time from first to last; None without a rate."""

    run_steps: int
    device_hours: float | None = None
    wall_s: float | None = None


def cost_of(
    stages: Sequence[Sequence[Pack]], steps: Mapping[str, int], *, workers: int, share: float, rates: Rates
) -> Cost:
    """Cost of packs, stage by stage.

    Args:
        stages: the packs of each stage.
        steps: expected steps of each run by run_id.
        workers: how many train packs at once.
        share: devices that each of them holds.
        rates: what a worker takes for a step.
    """
    run_steps = sum(steps.values())
    if not rates.known:
        return Cost(run_steps)
    times = [
        # Runs of a pack are of equal shape.
        [rates.seconds(pack.runs[0].config) * sum(steps[run.run_id] for run in pack.runs) for pack in packs]
        for packs in stages
    ]
    held_s = sum(sum(stage) for stage in times)
    return Cost(run_steps, held_s * share / 3600, sum(_makespan(stage, workers) for stage in times))


def _makespan(times: Sequence[float], workers: int) -> float:
    """When the last pack ends: the longest first, each to the worker that is free first."""
    free_at = [0.0] * min(workers, max(1, len(times)))
    for seconds in sorted(times, reverse=True):
        heapq.heapreplace(free_at, free_at[0] + seconds)
    return max(free_at)
