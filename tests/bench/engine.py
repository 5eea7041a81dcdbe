"""The engine's bench: `python -m tests.bench.engine [--device D] [--quick] [--limit S] [--json FILE] [--store URI]`.

Prints one table after the other. With `--device cuda` it needs torch, numpy, pyarrow and safetensors alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from tests.bench.accuracy import accuracy
from tests.bench.bench import Bench, measured_flops
from tests.bench.contenders import contenders
from tests.bench.costs import readings, storing
from tests.bench.effort import FULL, FULL_CUDA, QUICK, Effort
from tests.bench.machine import SIZE, Machine
from tests.bench.pieces import pieces
from tests.bench.projection import projection
from tests.bench.tables import Figure, Report, Table
from tests.bench.waste import waste
from tests.bench.width import widths
from tests.bench.workers import SpawnedWorkers, Workers


def tables(device: torch.device, effort: Effort, workers: Workers, store: str | None, size: int) -> Iterator[Table]:
    """All tables of a device, each when it is ready; the rate of products is of matrices with `size` rows."""
    machine, deadline = Machine.here(), time.monotonic() + effort.limit_s
    bench = Bench(
        device, effort, machine, workers, store, deadline, measured_flops(device, effort, machine, workers, size)
    )
    yield _rate(bench, size)
    width, best = widths(bench)
    yield width
    lanes = {p: best[p].lanes if p in best else effort.widths[device.type][0] for p in effort.moduli}
    yield contenders(bench, lanes)
    yield pieces(bench, lanes)
    first = effort.moduli[0]
    yield readings(bench, lanes[first])
    if first in best:
        yield storing(bench, lanes[first], best[first].ms_a_run_step)
    yield waste(bench, lanes[first])
    yield accuracy(bench)
    if device.type == "cuda":
        yield projection(bench)


def _rate(bench: Bench, size: int) -> Table:
    flops = bench.flops
    figure = Figure(flops.median / 1e9, flops.least / 1e9, flops.most / 1e9, flops.n)
    where = f"{bench.n_workers} processes of one thread" if bench.device.type == "cpu" else str(bench.machine.gpu)
    row = (f"float32 products of {size} x {size} matrices, {where}", figure)
    return Table("rate", "Rate of plain matrix products", ("what", "GFLOP/s"), (row,))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="less of everything, in two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables as JSON too")
    parser.add_argument("--store", metavar="URI", help="measure checkpoints and rows in this store too")
    parser.add_argument("--limit", type=float, metavar="S", help="leave out what does not fit into so many seconds")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device here; use --device cpu, or a torch built for CUDA.")
    effort = QUICK if asked.quick else FULL_CUDA if asked.device == "cuda" else FULL
    if asked.limit is not None:
        effort = replace(effort, limit_s=asked.limit)
    began = time.monotonic()
    report = Report("engine", Machine.here().to_dict(), asked.json)
    report.begin()
    workers = SpawnedWorkers(began + effort.limit_s, keep=asked.device == "cuda")
    for table in tables(torch.device(asked.device), effort, workers, asked.store, SIZE[asked.device]):
        report.add(table)
    workers.close()
    print(f"measured in {time.monotonic() - began:.0f} s" + (f", written to {asked.json}" if asked.json else ""))


if __name__ == "__main__":
    main()
