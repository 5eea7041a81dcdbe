"""A sweep's store that is full of runs that nobody trained, made in little time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from grok_sweeps.schema import RUNS_SCHEMA
from grok_sweeps.store import SweepStore
from grok_sweeps.store.states import LaneState, encode_states
from grok_sweeps.store.tables import encode_table

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def fill(store: SweepStore, n_rows: int, n_states: int, n_checkpoints: int = 20, rows_a_file: int = 10_000) -> None:
    """Add rows of finished runs to a directory store, final states of some of them, and checkpoints of other packs.

    Rows have the columns that a driver reads. Final states are empty files: their names say all.
    """
    for first in range(0, n_rows, rows_a_file):
        n = min(rows_a_file, n_rows - first)
        columns = {
            "run_id": pa.array([f"other{first + k:011d}" for k in range(n)]),
            "outcome": pa.repeat(pa.scalar("censored"), n),
            "steps_run": pa.repeat(pa.scalar(100, pa.int64()), n),
            "finished_at": pa.repeat(pa.scalar(NOON, RUNS_SCHEMA.field("finished_at").type), n),
            "attempt": pa.repeat(pa.scalar("other"), n),
            "grokked_step": pa.nulls(n, pa.int64()),
            "error": pa.nulls(n, pa.string()),
        }
        table = pa.table(columns).replace_schema_metadata(RUNS_SCHEMA.metadata)
        store.objects.put(store.layout.row_file("other", f"{first:08d}", 1), encode_table(table))
    for k in range(n_states):
        path = Path(store.objects.address(store.layout.state(f"other{k:011d}", 100)))
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for k in range(n_checkpoints):
        state = LaneState(f"going{k:011d}", 25, {"weights": np.zeros(100, np.float32)})
        store.objects.put(store.layout.checkpoint(f"other{k}", "a", 1), encode_states([state]))
