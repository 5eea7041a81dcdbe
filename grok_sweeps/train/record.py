"""One run's history while it is a lane: readings so far, when it memorised and grokked, time spent.

The history is part of the checkpoint, so that the curve of an interrupted run is as complete as any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from grok_sweeps.config import RunConfig
from grok_sweeps.schema import AT_GROK, CURVES_SCHEMA, READING_NAMES

MEMORIZED_ACCURACY = 0.99
GROKKED_ACCURACY = 0.90

_AT_GROK_READINGS = tuple(c.name for c in AT_GROK if c.name.endswith("_at_grok"))


@dataclass
class RunRecord:
    """History of one run. `outcome` is None while it is under way."""

    config: RunConfig
    started_at: datetime
    wall_s: float = 0.0
    steps: list[int] = field(default_factory=list)
    readings: list[list[float]] = field(default_factory=list)
    memorized_step: int | None = None
    grokked_step: int | None = None
    outcome: str | None = None

    def next_reading(self, step: int) -> int:
        """The step of the next reading after `step`: 1, then multiples of eval_every, and the horizon."""
        if step == 0:
            return 1
        every = self.config.eval_every
        return min((step // every + 1) * every, self.config.max_steps)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take in the readings after `step` and decide whether the run has ended."""
        self.steps.append(step)
        self.readings.append([values[name] for name in READING_NAMES])
        if not (math.isfinite(values["train_loss"]) and math.isfinite(values["weight_norm"])):
            self.outcome = "diverged"
            return
        if self.memorized_step is None and values["train_accuracy"] >= MEMORIZED_ACCURACY:
            self.memorized_step = step
        if values["test_accuracy"] >= GROKKED_ACCURACY:
            self.grokked_step = step
            self.outcome = "grokked"
        elif step >= self.config.max_steps:
            self.outcome = "censored"

    def outcome_columns(self) -> dict[str, Any]:
        """Outcome and grokking columns of the finished run's row."""
        last = dict(zip(READING_NAMES, self.readings[-1], strict=True))
        grokked = self.outcome == "grokked"
        reached = grokked and self.memorized_step is not None
        return {
            "outcome": self.outcome,
            "memorized_step": self.memorized_step,
            "grokked_step": self.grokked_step,
            "delay": (self.grokked_step or 0) - (self.memorized_step or 0) if reached else None,
            "steps_run": self.steps[-1],
            "error": "loss or weights are not finite" if self.outcome == "diverged" else None,
            **{name: last[name.removesuffix("_at_grok")] if grokked else None for name in _AT_GROK_READINGS},
            "softmax_collapse_max": float(np.max(self.array()[:, READING_NAMES.index("softmax_collapse")])),
        }

    def curve(self, sweep: str, run_id: str, attempt: str) -> pa.Table:
        """The run's readings as rows of the curves table."""
        array, n = self.array(), len(self.steps)
        columns = [pa.array([value] * n) for value in (sweep, run_id, attempt)]
        columns.append(pa.array(self.steps, pa.int64()))
        columns += [pa.array(array[:, k]) for k in range(len(READING_NAMES))]
        return pa.Table.from_arrays(columns, schema=CURVES_SCHEMA)

    def array(self) -> np.ndarray:
        """Readings so far, [n, K] float64."""
        return np.asarray(self.readings, dtype=np.float64).reshape(-1, len(READING_NAMES))

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the arrays."""
        return {
            "started_at": self.started_at.isoformat(),
            "wall_s": self.wall_s,
            "memorized_step": self.memorized_step,
            "readings": list(READING_NAMES),
        }

    @classmethod
    def restored(
        cls, config: RunConfig, facts: Mapping[str, Any], steps: np.ndarray, readings: np.ndarray
    ) -> RunRecord:
        """Rebuild the record of a run under way; readings this version knows and the file lacks become NaN."""
        stored = {name: k for k, name in enumerate(facts["readings"])}
        nan = np.full(len(steps), np.nan)
        columns = [readings[:, stored[name]] if name in stored else nan for name in READING_NAMES]
        return cls(
            config,
            datetime.fromisoformat(facts["started_at"]),
            facts["wall_s"],
            steps.tolist(),
            np.stack(columns, axis=1).tolist(),
            facts["memorized_step"],
        )
