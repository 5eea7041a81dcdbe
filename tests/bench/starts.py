"""What a pack costs to start in a store of many rows: `python -m tests.bench.starts [--rows 100 10000 1000000]`.

A directory with as many rows as asked for, one kept state for every 50 of them, and checkpoints of 20 other packs. A
driver reads it once and publishes a pack of four runs, whose states lie in one checkpoint. Then the pack's worker
starts, and the driver hears that its attempt has ended. Requests are counted as S3 would count them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.provenance import provenance
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from grok_sweeps.store.rows import PROGRESS_COLUMNS, RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.todo import Todo
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import load_work, pack_content, planned_work, with_states
from tests.counted_requests import CountedRequests
from tests.full_store import fill

T = TypeVar("T")
SPEC = "name: starts\nruns: {p: 59, seeds: 4, max_steps: 100000}\n"
HOW: dict[str, Any] = {"device": "cpu", "engine": "eager", "threads": 1, "checkpoint_every_s": 1e9, "git_sha": None}
FEW_ROWS, MANY_ROWS = 10, 10_000
"""Rows a file, of which there would be too many to write at a million rows."""
STARTS = 5
"""Pack starts, of which the quickest is shown."""


@dataclass(frozen=True)
class Cost:
    """What something asks of the store, and how long it takes."""

    requests: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.requests:,} in {self.seconds:.3g} s"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**2, 10**4, 10**6])
    measured = {}
    for n_rows in parser.parse_args().rows:
        with tempfile.TemporaryDirectory() as folder:
            measured[n_rows] = dict(measure(open_objects(folder), n_rows))
        print(f"{n_rows:,} rows: done", file=sys.stderr)
    print("| rows | " + " | ".join(next(iter(measured.values()))) + " |\n|---|" + "---|" * len(measured))
    for n_rows, costs in measured.items():
        print(f"| {n_rows:,} | " + " | ".join(map(str, costs.values())) + " |")


def measure(objects: ObjectStore, n_rows: int) -> Iterator[tuple[str, Cost]]:
    """What a driver's beginning, a pack's start and the end of its attempt cost."""
    plan = make_plan(parse_spec(SPEC))
    store = SweepStore(objects, plan.sweep)
    store.create(SPEC, plan)
    publish(store, plan, RowLog(store), StateIndex(store))
    first = begin(store, "first")
    first.advance(1e-4)
    first.checkpoint()
    fill(store, n_rows, n_rows // 50, rows_a_file=FEW_ROWS if n_rows <= MANY_ROWS else MANY_ROWS)

    counting = CountedRequests(objects)
    counted = SweepStore(counting, plan.sweep)
    log = RowLog(counted, PROGRESS_COLUMNS)

    def read() -> StateIndex:
        log.refresh()
        index = StateIndex(counted)
        assert len(index.kept) == n_rows // 50
        return index

    index, cost = timed(counting, read)
    yield "the driver reads the store once", cost
    yield "it publishes a pack", timed(counting, lambda: publish(counted, plan, log, index))[1]
    starts = [timed(counting, lambda k=k: begin(counted, f"again{k}")) for k in range(STARTS)]
    assert all(state.step > 0 for trainer, _ in starts for state in trainer.lane_states())
    yield "its worker starts", min((cost for _, cost in starts), key=lambda cost: cost.seconds)

    def ended() -> int:
        index.refresh_pack("pack")
        return len(Todo(plan).left_of(plan.runs, log.rows))

    left, cost = timed(counting, ended)
    assert left == len(plan.runs)
    yield "the driver looks what the attempt left", cost


def publish(store: SweepStore, plan: Plan, log: RowLog, index: StateIndex) -> None:
    """Write the pack of all runs of the plan."""
    runs = with_states([planned_work(run, plan) for run in plan.runs], log.rows, index)
    store.put_pack("pack", pack_content(runs, lanes=len(runs), **HOW))


def begin(store: SweepStore, attempt: str) -> PackTrainer:
    """Start as a worker does."""
    work, content = load_work(store, "pack")
    engine = choose_engine(content["engine"], torch.device(content["device"]))
    return PackTrainer(store, work, attempt, engine, provenance(None))


def timed(objects: CountedRequests, work: Callable[[], T]) -> tuple[T, Cost]:
    """Do some work; what it returns, and what it cost."""
    before, began = len(objects.requests), time.perf_counter()
    done = work()
    return done, Cost(len(objects.requests) - before, time.perf_counter() - began)


if __name__ == "__main__":
    main()
