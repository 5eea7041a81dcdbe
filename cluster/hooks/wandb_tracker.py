"""Weights & Biases: one run of a project a training run, grouped by sweep. `WANDB_MODE=offline` keeps it here.

A run's id there is the sweep's name and its run_id, so that what is logged twice takes the place of what was there.
What is whole is known from the run's folder on this machine, where a mark is left last of all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from grok_sweeps.cluster.hooks.tracker import Row, Version, numbers, parameters, readings, version, words

MARK = "grok-sweeps.json"


class WandbTracker:
    """Logs to `project`, PROJECT or ENTITY/PROJECT."""

    def __init__(self, project: str, sweep: str) -> None:
        import wandb

        entity, _, self._project = project.rpartition("/")
        self._entity, self._sweep = entity or None, sweep
        self._wandb: Any = wandb
        self._folder = Path(wandb.setup().settings.wandb_dir)

    def logged(self) -> Mapping[str, Version]:
        """The run_ids of this sweep and project that a folder holds whole."""
        logged: dict[str, Version] = {}
        for mark in self._folder.glob(f"*run-*-{self._sweep}-*/{MARK}"):
            content = json.loads(mark.read_text())
            if content["sweep"] == self._sweep and content["project"] == self._project:
                logged[content["run_id"]] = (content["outcome"], content["steps_run"])
        return logged

    def log(self, row: Row, curve: pa.Table) -> None:
        """Log the run whole, then leave the mark."""
        run_id = f"{self._sweep}-{row['run_id']}"
        for older in self._folder.glob(f"offline-run-*-{run_id}"):
            if not list(older.glob("*.wandb.synced")):
                shutil.rmtree(older)  # or a sync would put the same run together from both
        tags = words(row)
        run = self._wandb.init(
            entity=self._entity,
            project=self._project,
            id=run_id,
            name=run_id,
            group=self._sweep,
            config={**parameters(row), **{name: tags[name] for name in ("sweep", "run_id", "cell_id")}},
            reinit="create_new",
            settings=self._wandb.Settings(
                silent=True, console="off", disable_git=True, x_disable_stats=True, x_disable_machine_info=True
            ),
        )
        for step, read in readings(curve):
            run.log(read, step=step)
        run.summary.update({**tags, **numbers(row)})
        run.finish(exit_code=int(row["outcome"] == "failed"))
        outcome, steps = version(row)
        mark = {"sweep": self._sweep, "project": self._project, "run_id": row["run_id"]}
        folder = Path(run.settings.sync_dir)
        if folder.exists():  # WANDB_MODE=disabled leaves none
            (folder / MARK).write_text(json.dumps({**mark, "outcome": outcome, "steps_run": steps}))
