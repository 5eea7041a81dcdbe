"""Where a worker's time goes: arithmetic, other tensor operations, Python and launches, readings, the loop around.

On a CPU the step is profiled by Python's own profiler, which sees every call into torch and into compiled kernels; on a
GPU by torch's, which sees the kernels, also those of a captured graph. Shares of the profile are laid over the time
that the step takes unprofiled.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from grok_sweeps.config import RunConfig
from grok_sweeps.engines import ENGINES
from grok_sweeps.train.lanes import LaneStack
from tests.bench.bench import Bench, attempt
from tests.bench.case import Case
from tests.bench.contenders import run_step_ms
from tests.bench.effort import rounds_for
from tests.bench.ours import config_of, stack_of
from tests.bench.tables import Cell, Figure, Table
from tests.bench.workers import Ready

PRODUCTS = ("bmm", "baddbmm", "addmm", "matmul", "mm", "gemm", "gemv", "cutlass", "xmma", "dot")
"""Parts of the names of matrix products, in torch and among CUDA kernels."""
OWN_FILES = ("/train/native/", "/train/fused")
"""Where the calls of our own kernels stand; the kernel's time is its caller's."""
MATRICES, OWN, OTHER, REST = "matrix products", "our kernels", "other tensor operations", "Python and launches"


@dataclass(frozen=True)
class Pieces:
    """Milliseconds a step of a stack of lanes, by what they went into, and of the readings, spread over the steps."""

    step: Mapping[str, float]
    readings: float


def kind_of_call(file: str, function: str) -> str:
    """What a call that Python's profiler saw is part of; what is written in C has the file `~`."""
    if file != "~":
        return OWN if any(part in file for part in OWN_FILES) else REST
    if "torch" not in function:
        return REST
    return MATRICES if any(part in function for part in PRODUCTS) else OTHER


def kind_of_kernel(name: str) -> str:
    """What a CUDA kernel is part of: Triton's have a plain name, torch's a C++ signature."""
    if any(part in name.lower() for part in PRODUCTS):
        return MATRICES
    return OWN if name.isidentifier() else OTHER


def pieces_of(ready: Ready, config: RunConfig, lanes: int, engine: str, device: torch.device, seconds: float) -> Pieces:
    """Measure one worker's stack for about `seconds`."""
    stack, everyone = stack_of([replace(config, seed=k) for k in range(lanes)], engine, device), list(range(lanes))
    every = config.eval_every
    for _ in range(4):
        stack.advance(every)
        stack.read(everyone)
    ready()
    steps, readings = [], []
    for _ in rounds_for(seconds):
        began = time.perf_counter()
        stack.advance(every)
        _synchronize(device)
        between = time.perf_counter()
        stack.read(everyone)
        steps.append(between - began)
        readings.append(time.perf_counter() - between)
    step_ms, reading_ms = (1e3 * Figure.of(times).median / every for times in (steps, readings))
    shares = _gpu_shares(stack, every, device) if device.type == "cuda" else _cpu_shares(stack, every)
    return Pieces({kind: share * step_ms for kind, share in shares.items()}, reading_ms)


def _cpu_shares(stack: LaneStack, n_steps: int) -> dict[str, float]:
    profile = cProfile.Profile()
    profile.enable()
    stack.advance(n_steps)
    profile.disable()
    spent: dict[str, float] = defaultdict(float)
    for (file, _, function), (_, _, own_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        spent[kind_of_call(file, function)] += own_s
    return shares_of(spent)


def _gpu_shares(stack: LaneStack, n_steps: int, device: torch.device) -> dict[str, float]:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as found:
        began = time.perf_counter()
        stack.advance(n_steps)
        _synchronize(device)
        wall_s = time.perf_counter() - began
    kernels = [(event.key, 1e-6 * event.self_device_time_total) for event in found.key_averages()]
    return shares_of(spent_by_kernels(kernels, wall_s))


def spent_by_kernels(kernels: Iterable[tuple[str, float]], wall_s: float) -> dict[str, float]:
    """Seconds by kind, of kernels by name; the rest of the wall clock's time the device has waited."""
    spent: dict[str, float] = defaultdict(float)
    for name, seconds in kernels:
        spent[kind_of_kernel(name)] += seconds
    return {**spent, REST: max(0.0, wall_s - sum(spent.values()))}


def shares_of(spent: Mapping[str, float]) -> dict[str, float]:
    """Each part over the whole."""
    whole = sum(spent.values())
    return {kind: seconds / whole for kind, seconds in spent.items()}


def pieces(bench: Bench, lanes: Mapping[int, int]) -> Table:
    """The table for the fastest engine at its best width."""
    rows: list[tuple[Cell, ...]] = []
    engine = ENGINES[bench.device.type][-1]
    for p in bench.effort.moduli:
        case, width = Case(p, 1), lanes[p]
        arguments = (config_of(case), width, engine, bench.device, bench.effort.seconds)
        n = bench.n_workers
        found = attempt(partial(bench.workers.run, pieces_of, *arguments, workers=n, threads=1, ours=True))
        rates = attempt(partial(bench.rates, config_of(case), width, engine))
        if isinstance(found, str) or isinstance(rates, str):
            rows.append((p, found if isinstance(found, str) else str(rates), None, None))
            continue
        whole = run_step_ms([rate.windows for rate in rates]).median
        mean = {
            kind: sum(piece.step.get(kind, 0.0) for piece in found) / n / width / n
            for kind in (MATRICES, OWN, OTHER, REST)
        }
        mean["readings"] = sum(piece.readings for piece in found) / n / width / n
        mean["the loop around (rows, bookkeeping), and noise"] = whole - sum(mean.values())
        rows += [(p, kind, ms, 100 * ms / whole) for kind, ms in mean.items()]
        arithmetic = 1e3 * case.step_flops / bench.flops.median
        rows.append((p, "all", whole, 100.0))
        rows.append((p, "of which arithmetic, at the rate of plain products", arithmetic, 100 * arithmetic / whole))
    note = f"Engine {engine}, {bench.n_workers} workers at once, by the machine's time a run-step."
    return Table("pieces", "Where the time goes", ("p", "what", "ms a run-step", "%"), tuple(rows), note)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
