"""What the statistics of a sweep cost: `python -m tests.bench.analyses [--resamples 4000]`.

A made sweep of 1,600 runs with curves is read into families of cells and given to every analysis in turn, each once and
in one process: seconds of the clock and of the processor, which shows what other work on the machine took.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.analysis import made_sweep
from tests.analysis.every import ANALYSES, estimates_in, parts_of
from tests.bench.machine import Machine
from tests.bench.tables import Report, Table

T = TypeVar("T")

COLUMNS = ("analysis", "s", "processor s", "estimates")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=16, help="a cell; there are 100 cells")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}"
    report = Report("Statistics of a sweep", {**Machine.here().to_dict(), "load before": load}, given.json)
    report.begin()
    report.add(measure(given.seeds, given.resamples))


def measure(n_seeds: int, resamples: int) -> Table:
    """Time every analysis once."""
    runs, curves = made_sweep.tables(n_seeds)
    read = _timed(lambda: parts_of(runs, curves, made_sweep.SWEEP))
    parts = read[0]
    rows: list[tuple[str, float, float, int | None]] = [("families, cells, L at logged steps", *read[1:], None)]
    for name, analysis in ANALYSES.items():
        result, wall_s, cpu_s = _timed(lambda analysis=analysis: analysis(parts, resamples))
        rows.append((name, wall_s, cpu_s, sum(1 for _ in estimates_in(result))))
    rows.append(
        ("all analyses", sum(r[1] for r in rows[1:]), sum(r[2] for r in rows[1:]), sum(r[3] or 0 for r in rows))
    )
    note = f"{len(runs):,} runs in {len(parts)} families, {len(curves):,} readings; {resamples:,} resamples."
    return Table("analyses", "Every analysis, once", COLUMNS, tuple(rows), note)


def _timed(what: Callable[[], T]) -> tuple[T, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = what()
    return result, time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
