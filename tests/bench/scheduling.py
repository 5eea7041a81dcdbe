"""The bench of scheduling: `python -m tests.bench.scheduling [--quick] [--json FILE]`.

What a sweep costs beside its training: many short runs through `grok-sweeps run`, planning a large sweep, and the
driver's memory and time against the number of runs with trials that train nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.bench.bench import attempt
from tests.bench.machine import Machine
from tests.bench.null_driver import STEPS, spec_of
from tests.bench.product import ROOT, Sweep, command, run_sweep
from tests.bench.tables import Cell, Report, Table
from tests.bench.workers import WorkerError

SHORT_RUNS, PLANNED_RUNS, DRIVEN_RUNS = 1_000, 100_000, (1_000, 10_000, 100_000)
TIMEOUT_S = 900.0


def short_runs(n_runs: int, n_workers: int) -> Table:
    """Where the time of a sweep of many short runs goes."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = attempt(partial(run_sweep, "many", spec_of(n_runs), Path(folder), TIMEOUT_S))
    rows = [("all", sweep)] if isinstance(sweep, str) else parts(sweep, n_workers)
    title = f"{n_runs:,} runs of {STEPS} steps through `grok-sweeps run`"
    note = (
        f"p = 23, d_model 32, hidden 64; {n_workers} workers. Training is what the rows say, over the workers; the "
        "rest is overhead. Times of the parts are those at which the store's files and rows were written."
    )
    return Table("short_runs", title, ("part", "s"), tuple(rows), note)


def parts(sweep: Sweep, n_workers: int) -> list[tuple[Cell, ...]]:
    """The sweep's time, part after part, and its sums."""
    training = sweep.training_s / n_workers
    return [
        ("start of Python, plan and spec written", sweep.spec_written - sweep.began),
        ("Ray, Tune and the workers start, first packs written", sweep.first_step - sweep.spec_written),
        ("training", training),
        ("between first and last step: starts of runs, states, rows, changes of packs", sweep.active_s - training),
        ("the end: last rows, Ray stops", sweep.ended - sweep.last_step),
        ("all", sweep.wall_s),
        ("overhead: all but training", sweep.wall_s - training),
    ]


def planning(n_runs: int) -> Table:
    """How long `grok-sweeps plan` takes, from a fresh process to its end."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder, "spec.yaml")
        spec.write_text(spec_of(n_runs))
        taken = attempt(partial(_seconds, "plan", str(spec), "--store", str(Path(folder, "store"))))
        nothing = attempt(partial(_seconds, "plan", "--help"))
    rows = ((f"`grok-sweeps plan`, {n_runs:,} runs", taken), ("`grok-sweeps plan --help`, for comparison", nothing))
    return Table("planning", "Planning", ("command", "s"), rows)


def _seconds(*arguments: str) -> float:
    began = time.monotonic()
    command(*arguments, timeout_s=TIMEOUT_S)
    return time.monotonic() - began


def driving(sizes: Sequence[int]) -> Table:
    """The driver's memory and time against the number of runs."""
    rows: list[tuple[Cell, ...]] = []
    before: tuple[int, float] | None = None
    for n_runs in sizes:
        found = attempt(partial(_driven, n_runs))
        if isinstance(found, str):
            rows.append((n_runs, found, None, None, None, None))
            continue
        growth = None
        if before is not None:
            growth = (found["done_mb"] - before[1]) / (n_runs - before[0]) * 1e5
        before = (n_runs, found["done_mb"])
        mb = [found[name] for name in ("loaded_mb", "planned_mb", "done_mb")]
        rows.append((n_runs, found["all_s"], *mb, growth))
    columns = (
        "runs",
        "s for all",
        "peak MB, modules loaded",
        "peak MB, planned",
        "peak MB, done",
        "MB more for 10⁵ more runs",
    )
    note = "The driver's own process, with trials that write rows and train nothing."
    return Table("driving", "The driver", columns, tuple(rows), note)


def _driven(n_runs: int) -> dict[str, float]:
    whole = [sys.executable, "-m", "tests.bench.null_driver", str(n_runs)]
    try:
        done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"took longer than {TIMEOUT_S:.0f} s") from error
    if done.returncode:
        raise WorkerError((done.stderr.strip() or "failed").splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scheduling", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables as JSON too")
    asked = parser.parse_args()
    part = 10 if asked.quick else 1
    machine = Machine.here()
    report = Report("scheduling", machine.to_dict(), asked.json)
    report.begin()
    report.add(short_runs(SHORT_RUNS // part, machine.cores))
    report.add(planning(PLANNED_RUNS // part))
    report.add(driving([n // part for n in DRIVEN_RUNS]))
    if asked.json:
        print(f"written to {asked.json}")


if __name__ == "__main__":
    main()
