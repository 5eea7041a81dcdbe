"""Milliseconds a run-step of every way to train the same case: the peers, our engines, our product's own path."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from grok_sweeps.engines import ENGINES
from tests.bench.bench import Bench, attempt
from tests.bench.case import D_MODEL, HIDDEN, Case
from tests.bench.ours import config_of
from tests.bench.product import run_sweep
from tests.bench.tables import Cell, Figure, Table
from tests.bench.workers import Ready

STACKED = "(a) stacked, all pairs, eager"
STACKED_KEEPING = "(a) with the memory settings of our workers"
JAX = "(c) JAX vmap + jit"
PRODUCT_RUNS = 4
"""Runs a core of the sweep that goes through the product's own path."""


def contenders(bench: Bench, lanes: dict[int, int]) -> Table:
    """The table; `lanes` is the width at which our engines train, by modulus."""
    rows: list[tuple[Cell, ...]] = []
    for p in bench.effort.moduli:
        limit_ms = 1e3 * Case(p, 1).step_flops / bench.flops.median
        found = {**_peers(bench, p), **_ours(bench, p, lanes[p])}
        baseline = found[STACKED]
        for name, figure in found.items():
            over = ratio(baseline, figure)
            rows.append((p, name, figure, over, ratio(figure, limit_ms)))
        rows.append((p, "arithmetic limit", limit_ms, ratio(baseline, limit_ms), 1.0))
    return Table(
        "contenders",
        "Milliseconds a run-step",
        ("p", "way", "ms a run-step", "times faster than (a)", "times the limit"),
        tuple(rows),
        "tau 1, clamped from the first step; the machine's time over all run-steps done in it, median [least, most] of "
        "windows. The limit is a run-step's arithmetic at the rate of plain float32 matrix products on all cores. "
        "Peers take no readings; ours take all of them every 25 steps.",
    )


def ratio(over: Cell, under: Cell) -> float | None:
    """The quotient of two medians, where both were measured."""
    top, bottom = (x.median if isinstance(x, Figure) else x for x in (over, under))
    return top / bottom if isinstance(top, float) and isinstance(bottom, float) else None


def run_step_ms(workers: Sequence[Sequence[tuple[int, float]]]) -> Figure:
    """Milliseconds of the machine a run-step, from what workers did at the same time: (run-steps, seconds) a window."""
    windows = zip(*workers, strict=True)
    return Figure.of([1e3 / sum(steps / seconds for steps, seconds in window) for window in windows])


def peer_rate(
    ready: Ready, name: str, case: Case, device: torch.device, windows: int, window_s: float
) -> list[tuple[int, float]]:
    """(run-steps, seconds) of each window of a peer; the module `name` is loaded here, where it is used."""
    train = import_module(f"tests.bench.peers.{name}").trainer(case, device).train
    train(1)  # compiles, allocates
    began = time.perf_counter()
    train(1)
    n = max(1, round(window_s / (time.perf_counter() - began)))
    ready()
    found = []
    for _ in range(windows):
        began = time.perf_counter()
        train(n)
        found.append((n * case.seeds, time.perf_counter() - began))
    return found


def _peers(bench: Bench, p: int) -> dict[str, Cell]:
    """The peers, in a user's own environment but where it says otherwise."""
    many, one, cores = Case(p, bench.effort.seeds), Case(p, 1), bench.machine.cores
    whole = (1, cores)
    ways: dict[str, tuple[str, Case, tuple[int, int]]] = {STACKED: ("stacked", many, whole)}
    if bench.device.type == "cpu":
        ways[STACKED_KEEPING] = ("stacked", many, whole)
    ways["(b) one plain run, all threads"] = ("plain", one, whole)
    if bench.device.type == "cpu":
        ways["(b) a plain run a core, one thread each"] = ("plain", one, (cores, 1))
    ways[JAX] = ("jax_vmap", many, whole)
    absent = set() if find_spec("jax") else {JAX}
    return {
        name: "not installed" if name in absent else attempt(partial(_peer, bench, *way, name == STACKED_KEEPING))
        for name, way in ways.items()
    }


def _peer(bench: Bench, module: str, case: Case, where: tuple[int, int], keeping: bool) -> Figure:
    effort, (workers, threads) = bench.effort, where
    arguments = (module, case, bench.device, effort.windows, effort.window_s)
    return run_step_ms(bench.workers.run(peer_rate, *arguments, workers=workers, threads=threads, ours=keeping))


def _ours(bench: Bench, p: int, lanes: int) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for engine in ENGINES[bench.device.type]:
        rates = attempt(partial(bench.rates, config_of(Case(p, 1)), lanes, engine))
        if isinstance(rates, str):
            found[f"ours: {engine}"] = rates
            continue
        instead = "" if rates[0].engine == engine else f", which fell back to {rates[0].engine} ({rates[0].note})"
        found[f"ours: {engine}{instead}, {lanes} {'lane' if lanes == 1 else 'lanes'} a worker"] = run_step_ms(
            [rate.windows for rate in rates]
        )
    best = min((x.median for x in found.values() if isinstance(x, Figure)), default=None)
    if best is not None and bench.effort.product_s and bench.device.type == "cpu":
        timed = attempt(partial(_product, bench, p, best))
        names = (
            "ours: `grok-sweeps run`, from its first step to its last",
            "ours: `grok-sweeps run`, start-up included",
        )
        found.update(zip(names, (timed, timed) if isinstance(timed, str) else timed, strict=True))
    return found


def _product(bench: Bench, p: int, expected_ms: float) -> tuple[float, float]:
    """Milliseconds a run-step of a whole sweep of the case, without its start-up and end, and with them."""
    case, n_runs = Case(p, 1), PRODUCT_RUNS * bench.machine.cores
    n_steps = max(25, round(1e3 * bench.effort.product_s / expected_ms / n_runs / 25) * 25)
    spec = (
        "name: bench\n"
        f"runs: {{p: {p}, d_model: {D_MODEL}, hidden: {HIDDEN}, arm: clamp, w_c: {case.norm}, clamp_from_step: 1, "
        f"tau: {case.tau}, seeds: {n_runs}, max_steps: {n_steps}, stop: budget}}\n"
        "execution: {device: cpu}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        sweep = run_sweep("bench", spec, Path(folder), timeout_s=bench.left_s)
    return 1e3 * sweep.active_s / sweep.run_steps, 1e3 * sweep.wall_s / sweep.run_steps
