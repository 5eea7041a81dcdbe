"""Train finished runs again, interrupted once at a random step and resumed, and compare with their rows.

It takes the path that every worker takes, in a store of its own, so that it finds what a rerun by another person would
find. Steps and outcomes must be equal. Bits need not be: they are the same only where engine, width and library
versions are, and a row says what they were.
"""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grok_sweeps.config import run_config_from_dict
from grok_sweeps.engines import ENGINES
from grok_sweeps.errors import CorruptObjectError
from grok_sweeps.provenance import provenance
from grok_sweeps.schema import AT_GROK_NAMES
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.checkpoints import keep_state, kept_state
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.train.engine import Engine, choose_engine
from grok_sweeps.train.native import NativeBuildError
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork, RunWork, reference_of, with_states

COMPARED = ("outcome", "memorized_step", "grokked_step", "delay", "steps_run")
"""Columns that must be equal."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One run trained again.

    Attributes:
        run_id: which.
        interrupted_at: the step at which it was stopped and resumed.
        differences: by column, what the row says and what was found now; empty where they agree.
        largest_relative: largest relative difference of a reading at grokking; 0 for a run that did not grok.
        same_bits: whether weights, moments and step at the end are bit for bit the same.
        skipped: why it could not be trained again, or empty.
    """

    run_id: str
    interrupted_at: int = 0
    differences: Mapping[str, tuple[Any, Any]] | None = None
    largest_relative: float = 0.0
    same_bits: bool = False
    skipped: str = ""

    @property
    def agrees(self) -> bool:
        """Whether outcome and steps are the same."""
        return not self.skipped and not self.differences


def sample(rows: Mapping[str, Mapping[str, Any]], fraction: float, seed: int) -> list[str]:
    """The run ids to audit: a share of the finished runs that did not fail, at least one where there is any."""
    finished = sorted(run_id for run_id, row in rows.items() if row["outcome"] != "failed")
    return random.Random(seed).sample(finished, math.ceil(fraction * len(finished)))  # noqa: S311 no secret


def audit_run(uri: str, sweep: str, row: Mapping[str, Any], seed: int, folder: str | None = None) -> Audited:
    """Train one finished run again on a CPU thread of this process.

    Args:
        uri: the store.
        sweep: name of the sweep.
        row: the run's whole row; the others are not read.
        seed: of the step at which it is interrupted.
        folder: where its own store is for a while; the system's for temporary files unless given.

    Raises:
        CalibrationError: the control that the run refers to is not in the calibration.
    """
    torch.set_num_threads(1)
    store = SweepStore(open_objects(uri), sweep)
    run_id, config = row["run_id"], run_config_from_dict(row)
    work = RunWork(
        run_id,
        row["cell_id"],
        config,
        max(config.max_steps, row["steps_run"]),
        reference_of(config, store.load_calibration()),
        row["fork_of"],
    )
    at = random.Random(f"{seed} {run_id}").randint(config.fork_step or 0, row["steps_run"])  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="grok-sweeps-audit-", dir=folder) as own:
        scratch = SweepStore(open_objects(str(Path(own))), sweep)
        if work.fork_of is not None:
            try:
                state = kept_state(store, work.fork_of, config.fork_step or 0)
            except CorruptObjectError as error:
                return Audited(run_id, skipped=f"{error} It was forked from there")
            if state is None:
                name = store.layout.state(work.fork_of, config.fork_step or 0)
                return Audited(run_id, skipped=f"{name} is gone, from which it was forked")
            keep_state(scratch, state)
        again = _trained(scratch, work, at - (config.fork_step or 0), _engine(row))
    return _compared(row, again, at)


def _engine(row: Mapping[str, Any]) -> Engine:
    """The row's engine where a CPU has it and it can be built here, else the fastest."""
    device = torch.device("cpu")
    if row["engine"] in ENGINES["cpu"]:
        with contextlib.suppress(NativeBuildError):
            return choose_engine(row["engine"], device)
    return choose_engine("auto", device)


def _trained(scratch: SweepStore, run: RunWork, stop_after: int, engine: Engine) -> Mapping[str, Any]:
    """The row of a run that two attempts train, the second from where the first stopped."""
    for attempt in ("first", "second"):
        runs = with_states([run], {}, StateIndex(scratch))
        work = PackWork("audit", tuple(runs), lanes=1, checkpoint_every_s=math.inf)
        trainer = PackTrainer(scratch, work, attempt, engine, provenance(None))
        until = stop_after if attempt == "first" else math.inf
        while not trainer.done:
            if trainer.advance(math.inf, stop=lambda: trainer.run_steps >= until).run_steps >= until:  # noqa: B023
                break
    log = RowLog(scratch)
    log.refresh()
    return log.rows[run.run_id]


def _compared(row: Mapping[str, Any], again: Mapping[str, Any], at: int) -> Audited:
    differences = {name: (row[name], again[name]) for name in COMPARED if row[name] != again[name]}
    return Audited(
        row["run_id"],
        at,
        differences,
        max(_relative(row, again, [f"{name}_at_grok" for name in AT_GROK_NAMES]), default=0.0),
        row["final_state_sha256"] == again["final_state_sha256"],
    )


def _relative(row: Mapping[str, Any], again: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    pairs = [(row[name], again[name]) for name in names if row.get(name) is not None and again[name] is not None]
    return [abs(x - y) / max(abs(x), abs(y)) for x, y in pairs if x != y]
