"""A sweep through the product's own command, timed from outside and from what it leaves in the store."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.rows import RowLog
from tests.bench.workers import WorkerError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: its rows, and when what happened, in seconds since the epoch."""

    rows: Mapping[str, Mapping[str, Any]]
    began: float
    ended: float
    spec_written: float

    @property
    def wall_s(self) -> float:
        """The command from start to end."""
        return self.ended - self.began

    @property
    def first_step(self) -> float:
        """When the first run started."""
        return min(row["started_at"].timestamp() for row in self.rows.values())

    @property
    def last_step(self) -> float:
        """When the last run had ended."""
        return max(row["finished_at"].timestamp() for row in self.rows.values())

    @property
    def active_s(self) -> float:
        """From the first run's start to the last one's end."""
        return self.last_step - self.first_step

    @property
    def run_steps(self) -> int:
        """Steps of all runs."""
        return sum(row["steps_run"] for row in self.rows.values())

    @property
    def training_s(self) -> float:
        """Worker-seconds of training, readings included."""
        return sum(row["wall_s"] for row in self.rows.values())


def run_sweep(name: str, spec: str, folder: Path, timeout_s: float) -> Sweep:
    """`grok-sweeps run` on a spec named `name` that is not in `folder` yet.

    Raises:
        WorkerError: it does not finish.
    """
    file = folder / "spec.yaml"
    file.write_text(spec)
    began = time.time()
    command("run", str(file), "--store", str(folder / "store"), timeout_s=timeout_s)
    ended = time.time()
    store = SweepStore(open_objects(str(folder / "store")), name)
    log = RowLog(store)
    log.refresh()
    own = folder / "store" / name
    return Sweep(log.rows, began, ended, (own / "spec.yaml").stat().st_mtime)


def command(*arguments: str, timeout_s: float) -> None:
    """Run `grok-sweeps` of this checkout to its end.

    Raises:
        WorkerError: it fails or takes longer than `timeout_s`.
    """
    whole = [sys.executable, "-m", "grok_sweeps.cluster.cli", *arguments]
    try:
        done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"grok-sweeps {arguments[0]} took longer than {timeout_s:.0f} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise WorkerError(f"grok-sweeps {arguments[0]} failed: {said[-1] if said else done.returncode}")
