"""What a query costs on a large table: `python -m tests.bench.results [--runs 1000000 --points 100000000]`.

A store in a directory and one on SeaweedFS are filled (`many_runs`) and half compacted, as a driver leaves it under
way; they are asked, compacted as at the end, and asked again. `first` is the first answer of a new process's store,
`warm` the median of later ones; both in seconds, listing the store included. At the end 10,000 runs are asked once that
lie as 1,000 attempts leave them. Beside each figure stands the load average, the bench's own work included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grok_sweeps.results import Store, open_store
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from tests.bench.machine import Machine
from tests.bench.many_runs import SWEEP, add_attempts, compact_all, fill, run_id_of
from tests.bench.store import seaweedfs

WARM_UPS, REPEATS = 3, 9
AGGREGATE = "SELECT rho, tau, count(*) AS n, median(grokked_step) AS t FROM runs GROUP BY ALL"

Times = dict[str, dict[str, float]]


def questions(n_runs: int) -> dict[str, Callable[[Store], int]]:
    """What is asked, and how many rows the answer has."""
    one = run_id_of(n_runs // 2)
    return {
        "count of the runs": lambda store: int(store.sql("SELECT count(*) AS n FROM runs").n[0]),
        "medians by rho and tau": lambda store: len(store.sql(AGGREGATE)),
        "cells, as pandas": lambda store: len(store.cells()),
        "one run's curve": lambda store: len(store.curves(run_ids=[one])),
        "one run's curve, by SQL": lambda store: len(store.sql("FROM curves WHERE run_id = ?", [one])),
        "count of the points": lambda store: int(store.sql("SELECT count(*) AS n FROM curves").n[0]),
    }


def main() -> None:
    """Print one table."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000, help="0: what attempts leave alone")
    parser.add_argument("--points", type=int, default=100_000_000)
    parser.add_argument("--short", type=int, default=10_000)
    parser.add_argument("--place", choices=["directory", "SeaweedFS"], action="append", help="default both")
    parser.add_argument("--folder", type=Path, help="where the directory is made and kept; used again as it is")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    measured: dict[str, Times] = {}
    short: dict[str, dict[str, float]] = {}
    for place in given.place or ["directory", "SeaweedFS"]:
        if given.runs:
            with _place(place, given.folder) as objects:
                measured |= {f"{place}, {label}": t for label, t in measure(objects, given.runs, given.points)}
        with _place(place, None) as objects:
            short[place] = ask_attempts(objects, given.short)
    print(f"{given.runs:,} runs, {given.points:,} points; {Machine.here().cpu}, {Machine.here().cores} cores\n")
    if measured:
        print("\n".join(table(measured)), end="\n\n")
    for place, times in short.items():
        print(f"{given.short:,} short runs, {place}, s:", ", ".join(f"{k} {v:.2f}" for k, v in times.items()))
    if given.json:
        asked = {"runs": given.runs, "points": given.points, "short": given.short}
        content = {"machine": asdict(Machine.here()), **asked, "measured": measured, "short runs": short}
        given.json.write_text(json.dumps(content, indent=1) + "\n")


def measure(objects: ObjectStore, n_runs: int, n_points: int) -> Iterator[tuple[str, Times]]:
    """Times of every question before and after compaction."""
    sweep = SweepStore(objects, SWEEP)
    if not sweep.exists():
        _timed("filled", lambda: fill(objects, n_runs, n_points))
    yield "under way", ask(objects.uri, n_runs, n_points)
    _timed("compacted", lambda: compact_all(sweep))
    yield "compacted", ask(objects.uri, n_runs, n_points)


def ask(uri: str, n_runs: int, n_points: int) -> Times:
    """First and warm time of each question."""
    store, times = open_store(uri), dict[str, dict[str, float]]()
    for name, question in questions(n_runs).items():
        first = _seconds(lambda q=question: q(store))
        if not times:
            for _ in range(WARM_UPS):
                question(store)
        warm = [_seconds(lambda q=question: q(store)) for _ in range(REPEATS)]
        load = os.getloadavg()[0]
        times[name] = {"first": first, "warm": statistics.median(warm), "most": max(warm), "load": load}
        print(f"{name}: {times[name]}", file=sys.stderr)
    assert questions(n_runs)["count of the runs"](store) == n_runs
    assert questions(n_runs)["one run's curve"](store) == n_points // n_runs
    return times


def ask_attempts(objects: ObjectStore, n_runs: int) -> dict[str, float]:
    """Times of first answers over runs as attempts leave them, each from a store opened anew; and how many files."""
    sweep = fill(objects, 1, 3)
    n_files = add_attempts(sweep, n_runs)
    asked = questions(1)
    names = ("count of the runs", "medians by rho and tau", "cells, as pandas", "count of the points")
    times = {name: _seconds(lambda n=name: asked[n](open_store(objects.uri))) for name in names}
    return {"files of rows": float(n_files), **times}


def table(measured: dict[str, Times]) -> Iterator[str]:
    """A line a question, three columns a store."""
    yield "| | " + " | ".join(f"{label}: warm | first | load" for label in measured) + " |"
    yield "|---|" + "---|---|---|" * len(measured)
    for name in next(iter(measured.values())):
        cells = (
            f"{times[name]['warm']:.3f} | {times[name]['first']:.2f} | {times[name]['load']:.0f}"
            for times in measured.values()
        )
        yield f"| {name} | " + " | ".join(cells) + " |"


@contextmanager
def _place(name: str, folder: Path | None) -> Iterator[ObjectStore]:
    with ExitStack() as stack:
        if name == "SeaweedFS":
            yield stack.enter_context(seaweedfs())
            return
        made = folder or Path(tempfile.mkdtemp())
        if folder is None:
            stack.callback(shutil.rmtree, made, ignore_errors=True)
        yield open_objects(str(made))


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _timed(what: str, call: Callable[[], Any]) -> None:
    print(f"{what} in {_seconds(call):.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
