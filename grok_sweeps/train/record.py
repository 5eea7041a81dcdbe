"""One run's history while it is a lane: readings so far, when it memorised and grokked, time spent.

The history is part of the checkpoint, so that the curve of an interrupted run is as complete as any other.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from grok_sweeps.config import RunConfig
from grok_sweeps.schema import AT_GROK_NAMES, CURVES_SCHEMA, MAX_OVER_RUN, READING_NAMES, READINGS

MEMORIZED_ACCURACY = 0.99
GROKKED_ACCURACY = 0.90


@dataclass
class RunRecord:
    """History of one run. `outcome` is None while it is under way, `horizon_steps` the budget it is given."""

    config: RunConfig
    started_at: datetime
    horizon_steps: int
    wall_s: float = 0.0
    steps: list[int] = field(default_factory=list)
    readings: list[list[float]] = field(default_factory=list)
    memorized_step: int | None = None
    grokked_step: int | None = None
    outcome: str | None = None

    def next_reading(self, step: int) -> int:
        """The step of the next reading after `step`: 1, then multiples of eval_every, and the run's last step."""
        if step == 0:
            return 1
        every = self.config.eval_every
        return min((step // every + 1) * every, self._last_step())

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take in the readings after `step` and decide whether the run has ended."""
        self.steps.append(step)
        self.readings.append([values[name] for name in READING_NAMES])
        if not (math.isfinite(values["train_loss"]) and math.isfinite(values["weight_norm"])):
            self.outcome = "diverged"
            return
        if self.memorized_step is None and values["train_accuracy"] >= MEMORIZED_ACCURACY:
            self.memorized_step = step
        if self.grokked_step is None and values["test_accuracy"] >= GROKKED_ACCURACY:
            self.grokked_step = step
        self._conclude()

    @property
    def spent_its_budget(self) -> bool:
        """Whether the run ended at its horizon, from where it could go on."""
        return self.outcome != "diverged" and self.steps[-1] >= self.horizon_steps

    def outcome_columns(self) -> dict[str, Any]:
        """Outcome and grokking columns of the finished run's row."""
        grokked = self.grokked_step if self.outcome == "grokked" else None
        began = self.memorized_step if self.config.fork_step is None else self.config.fork_step
        at_grok = dict.fromkeys(READING_NAMES, math.nan)
        if grokked is not None:
            at_grok = dict(zip(READING_NAMES, self.readings[self.steps.index(grokked)], strict=True))
        return {
            "outcome": self.outcome,
            "memorized_step": self.memorized_step,
            "grokked_step": grokked,
            "delay": None if grokked is None or began is None else grokked - began,
            "steps_run": self.steps[-1],
            "error": f"loss or weights are not finite at step {self.steps[-1]}" if self.outcome == "diverged" else None,
            **{f"{name}_at_grok": _or_none(at_grok[name]) for name in AT_GROK_NAMES},
            f"{MAX_OVER_RUN}_max": float(np.max(self.array()[:, READING_NAMES.index(MAX_OVER_RUN)])),
        }

    def _conclude(self) -> None:
        if self.steps and self.steps[-1] >= self._last_step():
            self.outcome = "censored" if self.grokked_step is None else "grokked"

    def _last_step(self) -> int:
        """Where the run ends, as far as it is known."""
        after = self.config.steps_after_grokking
        if self.grokked_step is None or after is None:
            return self.horizon_steps
        return min(self.grokked_step + after, self.horizon_steps)

    def curve(self, sweep: str, run_id: str, attempt: str, after_step: int = 0) -> pa.Table:
        """The run's readings after a step as rows of the curves table."""
        first = bisect_right(self.steps, after_step)
        array, n = self._array(first), len(self.steps) - first
        columns = [pa.array([value] * n, pa.string()) for value in (sweep, run_id, attempt)]
        columns.append(pa.array(self.steps[first:], pa.int64()))
        columns += [pa.array(array[:, k], from_pandas=bool(c.null)) for k, c in enumerate(READINGS)]
        return pa.Table.from_arrays(columns, schema=CURVES_SCHEMA)

    def array(self) -> np.ndarray:
        """Readings so far, [n, K] float64."""
        return self._array(0)

    def _array(self, first: int) -> np.ndarray:
        return np.asarray(self.readings[first:], dtype=np.float64).reshape(-1, len(READING_NAMES))

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the arrays."""
        return {
            "started_at": self.started_at.isoformat(),
            "wall_s": self.wall_s,
            "memorized_step": self.memorized_step,
            "grokked_step": self.grokked_step,
            "readings": list(READING_NAMES),
        }

    @classmethod
    def restored(
        cls, config: RunConfig, horizon_steps: int, facts: Mapping[str, Any], steps: np.ndarray, readings: np.ndarray
    ) -> RunRecord:
        """Rebuild the record of an interrupted run; readings this version knows and the file lacks become NaN.

        The run may have ended already: a worker killed between the final state and the row leaves that.
        """
        stored = {name: k for k, name in enumerate(facts["readings"])}
        nan = np.full(len(steps), np.nan)
        columns = [readings[:, stored[name]] if name in stored else nan for name in READING_NAMES]
        record = cls(
            config,
            datetime.fromisoformat(facts["started_at"]),
            horizon_steps,
            facts["wall_s"],
            steps.tolist(),
            np.stack(columns, axis=1).tolist(),
            facts["memorized_step"],
            facts.get("grokked_step"),
        )
        record._conclude()
        return record


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
