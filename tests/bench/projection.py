"""How long `paper/all` would take on this GPU, from the measured time of a step of every shape at several widths."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from grok_sweeps.config import STOP_AT_BUDGET, RunConfig
from grok_sweeps.engines import ENGINES
from grok_sweeps.plan.estimate import step_flops
from tests.bench.bench import Bench, attempt
from tests.bench.contenders import run_step_ms
from tests.bench.ours import ENDLESS
from tests.bench.paper_all import FILE
from tests.bench.tables import Cell, Table

WIDTHS = (1, 16, 64, 128, 256, 512)
"""Numbers of lanes that are measured: also few, which is what is left of a pack when its last runs train."""
WINDOWS = 2


def projection(bench: Bench, groups: Sequence[Mapping[str, Any]] | None = None) -> Table:
    """The table: a row for each group of runs that train together, and the sum."""
    rows: list[tuple[Cell, ...]] = []
    totals = [0, 0, 0.0, 0.0]
    known: dict[tuple[Any, ...], dict[int, float] | str] = {}
    whole = True
    groups = groups or json.loads(FILE.read_text())
    most: dict[tuple[Any, ...], int] = {}
    for group in groups:
        shape = RunConfig(**group["config"]).shape
        most[shape] = max(most.get(shape, 0), group["runs"])
    for group in groups:
        config = RunConfig(**group["config"])
        config = replace(config, max_steps=ENDLESS, stop=STOP_AT_BUDGET, seeding="run", seeds_in_block=None)
        steps = [n for n, count in group["steps"] for _ in range(count)]
        if config.shape not in known:
            known[config.shape] = attempt(partial(_step_ms_by_width, bench, config, most[config.shape]))
        step_ms = known[config.shape]
        limit_s = sum(steps) * step_flops(config) / bench.flops.median
        name = ", ".join((f"p = {config.p}", config.arch, config.loss, config.dtype, f"stage {group['stage']}"))
        if isinstance(step_ms, str):
            rows.append((name, len(steps), sum(steps), None, step_ms, None, limit_s))
            whole = False
            continue
        width = min(best_width(step_ms), len(steps))
        seconds = 1e-3 * train_ms(steps, width, step_ms)
        per_run_step = 1e3 * seconds / sum(steps)
        rows.append((name, len(steps), sum(steps), width, per_run_step, seconds, limit_s))
        totals = [a + b for a, b in zip(totals, (len(steps), sum(steps), seconds, limit_s), strict=True)]
    if whole:
        n_runs, n_steps, seconds, limit_s = totals
        rows.append(("all", n_runs, n_steps, None, 1e3 * seconds / n_steps, seconds, limit_s))
    columns = ("runs of", "runs", "run-steps", "lanes", "ms a run-step", "s", "s at the rate of plain products")
    note = (
        "Expected steps by the planner's delay law; each group is one pack, longest runs first, a lane refilled when "
        "its run ends; time of a step by the lanes that are left, between measured widths in proportion. Start-up, "
        "rows and checkpoints are not in it. The last column counts float64 as twice float32."
    )
    return Table("projection", "paper/all on this GPU, projected", columns, tuple(rows), note)


def _step_ms_by_width(bench: Bench, config: RunConfig, n_runs: int) -> dict[int, float]:
    """Milliseconds of a step of a stack, readings included, by its number of lanes, as far as there are runs."""
    shortly = replace(bench, effort=replace(bench.effort, windows=WINDOWS))
    found = {}
    for lanes in sorted({min(lanes, n_runs) for lanes in WIDTHS}):
        rates = shortly.rates(config, lanes, ENGINES[bench.device.type][-1])
        found[lanes] = lanes * run_step_ms([rate.windows for rate in rates]).median
    return found


def best_width(step_ms: Mapping[int, float]) -> int:
    """The width at which a run-step takes least."""
    return min(step_ms, key=lambda lanes: step_ms[lanes] / lanes)


def train_ms(steps: Sequence[int], width: int, step_ms: Mapping[int, float]) -> float:
    """Milliseconds to train runs of these steps in `width` lanes, the longest first, refilling lanes as runs end."""
    waiting = sorted(steps)
    lanes: list[int] = []  # where each lane's run ends, in steps of the stack
    now, total = 0, 0.0
    while waiting or lanes:
        while waiting and len(lanes) < width:
            heapq.heappush(lanes, now + waiting.pop())
        end = heapq.heappop(lanes)
        total += (end - now) * between(step_ms, len(lanes) + 1)
        now = end
    return total


def between(step_ms: Mapping[int, float], lanes: int) -> float:
    """The time of a step at a width between measured ones, in proportion."""
    below = max((w for w in step_ms if w <= lanes), default=min(step_ms))
    above = min((w for w in step_ms if w >= lanes), default=max(step_ms))
    if below == above:
        return step_ms[below]
    part = (lanes - below) / (above - below)
    return (1 - part) * step_ms[below] + part * step_ms[above]
