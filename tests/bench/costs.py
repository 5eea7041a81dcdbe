"""What is done beside training: readings every `eval_every` steps, a row a run, checkpoints every minute."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from grok_sweeps.config import RunConfig
from grok_sweeps.engines import ENGINES
from grok_sweeps.errors import StoreError
from grok_sweeps.plan.estimate import expected_steps
from grok_sweeps.schema import RUNS_SCHEMA
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.segments import Segments
from grok_sweeps.store.tables import decode_table
from tests.bench.bench import Bench, attempt
from tests.bench.case import Case
from tests.bench.effort import rounds_for
from tests.bench.ours import config_of, pack_trainer, stack_of, warm_up
from tests.bench.tables import Cell, Figure, Table
from tests.bench.workers import Ready

CHECKPOINT_EVERY_S = 60.0
"""The default of `execution.checkpoint_every_s`."""
_TRANSFORMER: dict[str, Any] = {"hidden": 512, "lr": 5e-4, "heads": 4, "arm": "free", "rho": None, "w_c": None}
VARIANTS: dict[str, tuple[int, dict[str, Any]]] = {
    "p = 59": (59, {}),
    "p = 97": (97, {}),
    "p = 59, mse": (59, {"loss": "mse"}),
    "p = 59, float64": (59, {"dtype": "float64"}),
    "p = 59, stablemax": (59, {"normalizer": "stablemax"}),
    "p = 59, transformer_no_layernorm": (59, {"arch": "transformer_no_layernorm", **_TRANSFORMER}),
    "p = 59, transformer": (59, {"arch": "transformer", **_TRANSFORMER}),
}


@dataclass(frozen=True)
class Spent:
    """Seconds of one thing: of processors, over all threads, and of the wall clock."""

    processor: Figure
    wall: Figure


def readings(bench: Bench, lanes: int) -> Table:
    """What the readings cost, for a worker of `lanes` lanes on its own."""
    rows: list[tuple[Cell, ...]] = []
    engine = ENGINES[bench.device.type][-1]
    for name, (p, changes) in list(VARIANTS.items())[: bench.effort.variants]:
        config = config_of(Case(p, 1), **changes)
        arguments = (config, lanes, engine, bench.device, bench.effort.seconds)
        found = attempt(partial(bench.workers.run, step_and_reading, *arguments, workers=1, threads=1, ours=True))
        if isinstance(found, str):
            rows.append((name, found, None, None))
            continue
        step, reading = found[0]
        rows.append((name, step, reading, 100 * reading.median / (step.median * config.eval_every)))
    columns = ("runs", "ms a step of the stack", "ms a set of readings", "readings in % of training")
    clock = (
        "the clock's time" if bench.device.type == "cuda" else "processor time, which other processes disturb little"
    )
    note = f"One worker, {lanes} lanes, readings of all of them every {config.eval_every} steps; {clock}."
    return Table("readings", "Readings", columns, tuple(rows), note)


def step_and_reading(
    ready: Ready, config: RunConfig, lanes: int, engine: str, device: torch.device, seconds: float
) -> tuple[Figure, Figure]:
    """Milliseconds of a step and of a set of readings of a stack, measured for about `seconds`."""
    stack, everyone = stack_of([replace(config, seed=k) for k in range(lanes)], engine, device), list(range(lanes))
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    for _ in range(3):
        stack.advance(config.eval_every)
        stack.read(everyone)
    ready()
    trained, read = [], []
    for _ in rounds_for(seconds):
        began = clock()
        stack.advance(config.eval_every)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        between = clock()
        stack.read(everyone)
        trained.append(1e3 * (between - began) / config.eval_every)
        read.append(1e3 * (clock() - between))
    return Figure.of(trained), Figure.of(read)


def storing(bench: Bench, lanes: int, ms_a_run_step: float) -> Table:
    """What rows and checkpoints cost; `ms_a_run_step` is the machine's, to compare with."""
    engine, case = ENGINES[bench.device.type][-1], Case(59, 1)
    config = config_of(case)
    n_steps = expected_steps(replace(config, stop="grokked"))
    worker_s = 1e-3 * ms_a_run_step * bench.n_workers * n_steps  # of a worker's time a run takes
    places = {"directory": None, **({bench.store: bench.store} if bench.store else {})}
    rows: list[tuple[Cell, ...]] = []
    for place, uri in places.items():
        arguments = (config, lanes, engine, bench.device, uri, n_steps, bench.effort.seconds)
        found = attempt(partial(bench.workers.run, stored, *arguments, workers=1, threads=1, ours=True))
        if isinstance(found, str):
            rows.append((f"{place}", found, None, None, None))
            continue
        checkpoint, row = found[0]
        rows.append(
            _row(
                f"{place}: checkpoint of {lanes} lanes, every {CHECKPOINT_EVERY_S:g} s", checkpoint, CHECKPOINT_EVERY_S
            )
        )
        rows.append(_row(f"{place}: row and curve of a run of {n_steps:,} steps", row, worker_s))
    columns = ("what", "ms of processors", "ms until written", "processors in % of training", "all in % of training")
    note = (
        "p = 59. Writing is a thread of its own beside training: on a core that trains it takes its processor time, "
        "and all of it only if nothing were hidden behind training."
    )
    return Table("storing", "Rows and checkpoints", columns, tuple(rows), note)


def _row(what: str, spent: Spent, per_s: float) -> tuple[Cell, ...]:
    shares = [100 * 1e-3 * figure.median / per_s for figure in (spent.processor, spent.wall)]
    return (what, spent.processor, spent.wall, *shares)


def stored(
    ready: Ready,
    config: RunConfig,
    lanes: int,
    engine: str,
    device: torch.device,
    uri: str | None,
    n_steps: int,
    seconds: float,
) -> tuple[Spent, Spent]:
    """Milliseconds of a checkpoint of a pack under way, and of writing a run of `n_steps` steps that has ended."""
    with _sweep_at(uri) as store:
        short = replace(config, max_steps=config.eval_every)
        ended = pack_trainer([short], 1, engine, device, store)
        while not ended.advance(0.1).done:
            pass
        log = RowLog(store)
        log.refresh()
        (curve_file,) = [info.name for info in store.objects.list(store.layout.curves)]
        data = store.objects.get(curve_file)
        assert data is not None
        table = decode_table(data, curve_file)
        n_readings = 1 + n_steps // config.eval_every
        curve = table.take([k % len(table) for k in range(n_readings)])
        row = {name: value for name, value in log.rows[short.run_id].items() if name in RUNS_SCHEMA.names}
        trainer = pack_trainer([replace(config, seed=k) for k in range(lanes)], lanes, engine, device, store)
        warm_up(trainer, lanes)
        ready()
        checkpoints = _spent(trainer.checkpoint, seconds, lambda: trainer.advance(0.01))  # a state that is not stored
        segments = Segments(store, "bench", "rows")
        rows = _spent(lambda: segments.write([row], [curve]), seconds)
    return checkpoints, rows


def _spent(work: Callable[[], object], seconds: float, between: Callable[[], object] = lambda: None) -> Spent:
    processor, wall = [], []
    for _ in rounds_for(seconds):
        began, started = time.process_time(), time.perf_counter()
        work()
        wall.append(1e3 * (time.perf_counter() - started))
        processor.append(1e3 * (time.process_time() - began))
        between()
    return Spent(Figure.of(processor), Figure.of(wall))


@contextlib.contextmanager
def _sweep_at(uri: str | None) -> Iterator[SweepStore]:
    """A sweep of a name of its own in the store at `uri`, or in a temporary directory; nothing of it is left."""
    with tempfile.TemporaryDirectory() as folder:
        store = SweepStore(open_objects(uri or folder), f"bench-{secrets.token_hex(4)}")
        try:
            yield store
        finally:
            with contextlib.suppress(StoreError):
                for info in list(store.objects.list(store.sweep)):
                    store.objects.delete(info.name)
