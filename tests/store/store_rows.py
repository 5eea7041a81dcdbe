"""States and rows of runs that nobody trained."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from grok_sweeps.schema import RUN_COLUMNS
from grok_sweeps.store.states import LaneState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row_of(run_id: str, **values: Any) -> dict[str, Any]:
    """A row with a value in every column that is never null: a run that grokked at step 100."""
    never_null: dict[Any, Any] = {pa.string(): "x", pa.int64(): 1, pa.float64(): 1.0, pa.bool_(): False}
    row = {c.name: None if c.null else never_null.get(c.dtype, NOON) for c in RUN_COLUMNS}
    return {**row, "sweep": "made", "run_id": run_id, "outcome": "grokked", "grokked_step": 100, **values}


def state_of(run_id: str, step: int) -> LaneState:
    """A state whose numbers are the step's own."""
    rng = np.random.default_rng(step)
    tensors = {"w": rng.normal(size=(3, 4)).astype("<f4"), "n": np.array(step, "<i8"), "x": rng.normal(size=5)}
    return LaneState(run_id, step, tensors, {"wall_s": 1.25, "memorized_step": 175})
