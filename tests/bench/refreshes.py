"""What one look of the driver at its sweep costs: `python -m tests.bench.refreshes [--runs 1000 10000 100000]`.

A sweep of ten runs a cell, half of which have their rows, in files of 100. Then five runs at a time end, in one file,
and the monitor reads them, sums up and draws the panel.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

from grok_sweeps.cluster.views import panel
from grok_sweeps.plan import PlannedRun, make_plan
from grok_sweeps.progress import Progress
from grok_sweeps.schema import RUNS_SCHEMA
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.tables import encode_table
from tests.full_store import NOON
from tests.monitors import monitor_of

SEEDS, ROWS_A_FILE, NEW_ROWS = 10, 100, 5
REFRESHES = 5
"""Looks with new rows, of which the quickest is shown."""


@dataclass(frozen=True)
class Cost:
    """Seconds of the first look at a store, of one with a few new rows, and what listing takes of it."""

    cells: int
    first_s: float
    refresh_s: float
    listing_s: float
    progress: Progress


class Drawing:
    """A view that draws the panel and shows it to nobody."""

    def update(self, progress: Progress) -> None:
        """Draw."""
        self.progress = progress
        panel(progress)

    def event(self, text: str) -> None:
        """Nothing."""


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[10**3, 10**4, 10**5])
    measured = {}
    for n_runs in parser.parse_args().runs:
        with tempfile.TemporaryDirectory() as folder:
            measured[n_runs] = measure(folder, n_runs)
        print(f"{n_runs:,} runs: done", file=sys.stderr)
    print("| runs | cells | first look | a look with new rows | of it, listing |\n|---|---|---|---|---|")
    for n_runs, cost in measured.items():
        seconds = " | ".join(f"{s:.2g} s" for s in (cost.first_s, cost.refresh_s, cost.listing_s))
        print(f"| {n_runs:,} | {cost.cells:,} | {seconds} |")


def measure(folder: str, n_runs: int) -> Cost:
    """What looks at a sweep of so many runs cost, in a directory store."""
    text = spec_of(n_runs)
    plan = make_plan(parse_spec(text))
    store = SweepStore(open_objects(folder), plan.sweep)
    store.create(text, plan)
    half = len(plan.runs) // 2
    for first in range(0, half, ROWS_A_FILE):
        finish(store, plan.runs[first : min(first + ROWS_A_FILE, half)], first)
    view = Drawing()
    monitor = monitor_of(store, plan, view)
    first_s = seconds_of(lambda: monitor._refresh(force=True))
    refresh_s = []
    for k in range(REFRESHES):
        first = half + k * NEW_ROWS
        finish(store, plan.runs[first : first + NEW_ROWS], first)
        refresh_s.append(seconds_of(monitor._refresh))
    listing_s = min(seconds_of(lambda: list(store.objects.list(store.layout.rows))) for _ in range(REFRESHES))
    return Cost(plan.n_cells, first_s, min(refresh_s), listing_s, view.progress)


def spec_of(n_runs: int) -> str:
    """A sweep of so many runs, over three axes."""
    taus = [round(1 + k * 1e-3, 3) for k in range(n_runs // SEEDS // 10)]
    axes = f"p: [59, 97], rho: [1.0, 1.02, 1.04, 1.06, 1.08], tau: {taus}"
    return f"name: many\nruns: {{{axes}, arm: clamp, w_c: 50, seeds: {SEEDS}}}\n"


def finish(store: SweepStore, runs: Sequence[PlannedRun], number: int) -> None:
    """Write one file with a row for each of some runs, in the columns that a driver reads."""
    steps = [2000 + int(run.run_id[:8], 16) % 3000 for run in runs]
    columns = {
        "run_id": [run.run_id for run in runs],
        "outcome": ["grokked" if step % 5 else "censored" for step in steps],
        "steps_run": steps,
        "finished_at": [NOON + timedelta(seconds=number + k) for k in range(len(runs))],
        "attempt": ["a"] * len(runs),
        "grokked_step": steps,
        "error": [None] * len(runs),
    }
    schema = pa.schema([RUNS_SCHEMA.field(name) for name in columns], metadata=RUNS_SCHEMA.metadata)
    store.objects.put(store.layout.row_file("pack", "a", number + 1), encode_table(pa.table(columns, schema=schema)))


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
