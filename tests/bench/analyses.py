"""What the statistics of a sweep and their report cost: `python -m tests.bench.analyses [--resamples 4000]`.

`analyze` is given a made sweep of 1,600 runs with curves, as the command gives it one that was read, and every part of
it is timed where it is called: seconds of the clock and of the processor, which show what other work took. Then what is
shown of it is made as the command makes it. Painting has the PNG encoded by a thread beside it, so that the processor
may take longer than the clock.
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

from grok_sweeps.analysis import comparisons, entry, render
from grok_sweeps.analysis.result import Analysis
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
SHOWN = ("terminal_tables", "figures", "estimates_json", "report_html", "report_markdown")
"""What is made of an analysis, in the command's order."""
WHOLE, ALL = "analyze, all in all", "analyze and all that is shown"


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
    shown, n_figures = _show(analysis)
    timed = {**clocks, WHOLE: whole, **shown}
    rows = [(name, clock.calls, clock.wall_s, clock.cpu_s) for name, clock in timed.items()]
    together = (whole, *shown.values())
    rows.append((ALL, 1, sum(c.wall_s for c in together), sum(c.cpu_s for c in together)))
    note = (
        f"{len(runs):,} runs in {len(analysis.families)} families, {len(curves):,} readings; {resamples:,} resamples; "
        f"{sum(1 for _ in estimates_in(analysis)):,} estimates, {n_figures} figures as PNG and SVG."
    )
    return Table("analyses", "Every analysis of one sweep, and its report", COLUMNS, tuple(rows), note)


def _show(analysis: Analysis) -> tuple[dict[str, Clock], int]:
    """Time everything that is shown of an analysis; the number of figures too."""
    clocks = {name: Clock() for name in SHOWN}
    made: dict[str, bytes] = {}
    for name, clock in clocks.items():
        options = {"figures": made} if name == "report_html" else {}
        result = clock.around(getattr(render, name))(analysis, **options)
        made = result if name == "figures" else made
    return clocks, len(made) // 2


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
