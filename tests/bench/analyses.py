"""What the statistics of a sweep cost: `python -m tests.bench.analyses [--resamples 4000]`.

`analyze` is given a made sweep of 1,600 runs with curves, as the command gives it one that was read, and every part of
it is timed where it is called: seconds of the clock and of the processor, which show what other work took.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from analysis import comparisons, entry
from tests.analysis import made_sweep
from tests.analysis.found import estimates_in
from tests.bench.machine import Machine
from tests.bench.tables import Report, Table

COLUMNS = ("analysis", "calls", "s", "processor s")
PREPARE = ("clean", "split", "make_cells", "with_logged_readings", "cell_curves")
WITHIN = (
    "collapse",
    "recoveries",
    "law",
    "mediation",
    "mediators",
    "equivalence",
    "survival",
    "memorisation",
    "allocation",
    "transformer",
)
BETWEEN = ("dissociation", "precision", "same_state", "shared_law")
PARTS = {
    **dict.fromkeys(PREPARE, entry),
    **dict.fromkeys(WITHIN, entry),
    **dict.fromkeys(BETWEEN, comparisons),
    "check_claims": entry,
}
"""What is timed, and the module that calls it."""


class Clock:
    """Calls, seconds of the clock and of the processor, of what runs under it."""

    def __init__(self) -> None:
        self.calls, self.wall_s, self.cpu_s = 0, 0.0, 0.0

    def around(self, what: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return what(*args, **kwargs)
            finally:
                self.calls += 1
                self.wall_s += time.perf_counter() - wall
                self.cpu_s += time.process_time() - cpu

        return timed


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=entry.RESAMPLES)
    parser.add_argument("--seeds", type=int, default=16, help="a cell; there are 100 cells")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}"
    report = Report("Statistics of a sweep", {**Machine.here().to_dict(), "load before": load}, given.json)
    report.begin()
    report.add(measure(given.seeds, given.resamples))


def measure(n_seeds: int, resamples: int) -> Table:
    """Time every part of one analysis of the made sweep."""
    runs, curves = made_sweep.tables(n_seeds)
    whole = Clock()
    with _clocks() as clocks:
        analysis = whole.around(entry.analyze)(runs, curves, sweep=made_sweep.SWEEP, resamples=resamples)
    rows = [(name, clock.calls, clock.wall_s, clock.cpu_s) for name, clock in clocks.items()]
    rows.append(("analyze, all in all", 1, whole.wall_s, whole.cpu_s))
    note = (
        f"{len(runs):,} runs in {len(analysis.families)} families, {len(curves):,} readings; {resamples:,} resamples; "
        f"{sum(1 for _ in estimates_in(analysis)):,} estimates."
    )
    return Table("analyses", "Every analysis of one sweep", COLUMNS, tuple(rows), note)


@contextmanager
def _clocks() -> Iterator[dict[str, Clock]]:
    clocks = {name: Clock() for name in PARTS}
    with (
        mock.patch.multiple(entry, **_timed(clocks, entry)),
        mock.patch.multiple(comparisons, **_timed(clocks, comparisons)),
    ):
        yield clocks


def _timed(clocks: dict[str, Clock], module: Any) -> dict[str, Callable[..., Any]]:
    return {name: clocks[name].around(getattr(module, name)) for name, caller in PARTS.items() if caller is module}


if __name__ == "__main__":
    main()
