"""How many lanes a worker should train at once: time a run-step and memory a lane, by width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from grok_sweeps.engines import ENGINES
from tests.bench.bench import Bench, attempt
from tests.bench.case import Case
from tests.bench.contenders import run_step_ms
from tests.bench.ours import config_of
from tests.bench.tables import Cell, Table


@dataclass(frozen=True)
class Width:
    """A number of lanes and the time of a run-step at it."""

    lanes: int
    ms_a_run_step: float


def widths(bench: Bench) -> tuple[Table, dict[int, Width]]:
    """The table for the fastest engine, and the best width by modulus."""
    rows: list[tuple[Cell, ...]] = []
    best: dict[int, Width] = {}
    engine = ENGINES[bench.device.type][-1]
    for p in bench.effort.moduli:
        for lanes in bench.effort.widths[bench.device.type]:
            rates = attempt(partial(bench.rates, config_of(Case(p, 1)), lanes, engine))
            if isinstance(rates, str):
                rows.append((p, lanes, engine, rates, None))
                continue
            figure = run_step_ms([rate.windows for rate in rates])
            rows.append((p, lanes, rates[0].engine, figure, max(rate.bytes_a_lane for rate in rates) / 1e6))
            if p not in best or figure.median < best[p].ms_a_run_step:
                best[p] = Width(lanes, figure.median)
    columns = ("p", "lanes a worker", "engine", "ms a run-step", "peak MB a lane")
    note = (
        f"{bench.n_workers} workers at once, through `PackTrainer`, readings included. Memory is what the worker's "
        "peak rises by from before its lanes exist, over the lanes."
    )
    return Table("width", "Width", columns, tuple(rows), note), best
