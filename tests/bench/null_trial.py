"""A trial that writes the rows of its pack and trains nothing: what is left is the cost of scheduling."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ray import tune

from grok_sweeps.schema import CURVES_SCHEMA
from grok_sweeps.store import SweepStore, open_objects
from tests.written import write_results

ROWS_A_REPORT = 1000


class NullTrial(tune.Trainable):
    """Stands in for `grok_sweeps.cluster.trial.PackTrial`, with the same configuration and the same reports."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """The bundle that the driver put beside the pack's id."""
        return tune.PlacementGroupFactory([config["bundle"]])

    def setup(self, config: dict[str, Any]) -> None:
        """Take on a pack."""
        self._store = SweepStore(open_objects(config["store"]), config["sweep"])
        self._pack = config["pack"]
        self._waiting = self._store.load_pack(self._pack)["runs"]
        self._written = self._number = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on another pack in the same worker."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Write some rows and report."""
        runs, self._waiting = self._waiting[:ROWS_A_REPORT], self._waiting[ROWS_A_REPORT:]
        self._number += 1
        rows = [_row(self._store.sweep, run) for run in runs]
        write_results(self._store, self._pack, "null", self._number, rows, [CURVES_SCHEMA.empty_table()])
        self._written += len(runs)
        return {
            "lanes_active": 0,
            "run_steps": self._written,
            "idle_lane_steps": 0,
            "run_steps_under_way": 0,
            "files_written": self._number,
            "notes": [],
            "node": None,
            "preempted": False,
            "done": not self._waiting,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing."""


def _row(sweep: str, run: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "sweep": sweep,
        "run_id": run["run_id"],
        "cell_id": run["cell_id"],
        **run["config"],
        "outcome": "censored",
        "steps_run": run["horizon_steps"],
        "attempt": "null",
        "version": "bench",
        "torch": "none",
        "host": "bench",
        "device": "none",
        "lanes": 1,
        "started_at": now,
        "finished_at": now,
        "wall_s": 0.0,
    }
