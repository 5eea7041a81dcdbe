"""Lane-steps done in lanes whose run had ended, as the engine's own column says."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial

import torch

from grok_sweeps.engines import ENGINES
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.rows import RowLog
from tests.bench.bench import Bench, attempt
from tests.bench.case import Case
from tests.bench.ours import config_of, pack_trainer
from tests.bench.tables import Cell, Table
from tests.bench.workers import Ready

RUNS_A_LANE = 4
GROKS_SOON = {"train_fraction": 0.8, "d_model": 48, "hidden": 96, "lr": 0.005, "weight_decay": 3.0, "stop": "grokked"}
"""What makes a free run at p = 23 grok at about step 300, each seed at another."""


def idle_share(ready: Ready, lanes: int, engine: str, device: torch.device, max_steps: int) -> tuple[float, int, int]:
    """Train a pack to its end: the share, the fewest and the most steps of a run."""
    base = config_of(
        Case(23, 1), arm="free", rho=None, w_c=None, clamp_from_step=None, max_steps=max_steps, **GROKS_SOON
    )
    with tempfile.TemporaryDirectory() as folder:
        store = SweepStore(open_objects(folder), "bench")
        configs = [replace(base, seed=k) for k in range(RUNS_A_LANE * lanes)]
        trainer = pack_trainer(configs, lanes, engine, device, store)
        ready()
        while not trainer.advance(1.0).done:
            pass
        log = RowLog(store)
        log.refresh()
    rows = list(log.rows.values())
    steps = [row["steps_run"] for row in rows]
    return max(rows, key=lambda row: row["finished_at"])["idle_share"], min(steps), max(steps)


def waste(bench: Bench, lanes: int) -> Table:
    """The table: packs of several times as many runs as lanes, at the narrowest width, the widest and `lanes`."""
    widths = bench.effort.widths[bench.device.type]
    engine = ENGINES[bench.device.type][-1]
    rows: list[tuple[Cell, ...]] = []
    for width in sorted({widths[0], lanes, widths[-1]}):
        arguments = (width, engine, bench.device, bench.effort.waste_steps)
        found = attempt(partial(bench.workers.run, idle_share, *arguments, workers=1, threads=1, ours=True))
        if isinstance(found, str):
            rows.append((width, RUNS_A_LANE * width, found, None, None))
            continue
        share, least, most = found[0]
        rows.append((width, RUNS_A_LANE * width, 100 * share, least, most))
    columns = ("lanes", "runs of the pack", "% idle lane-steps", "steps of the shortest run", "of the longest")
    return Table("waste", "Waste", columns, tuple(rows), "Runs at p = 23 that end when they grok.")
