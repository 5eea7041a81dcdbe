"""Finished runs and their curves as a store has them that no run was trained for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from grok_sweeps.schema import CURVES_SCHEMA, RUNS_SCHEMA
from grok_sweeps.store import SweepStore
from grok_sweeps.store.tables import encode_rows, encode_table


def write_results(
    store: SweepStore,
    pack_id: str,
    attempt: str,
    number: int,
    rows: Sequence[Mapping[str, Any]],
    curves: Sequence[pa.Table],
    fence: int | None = None,
) -> None:
    """Write one small segment of each, as an attempt does."""
    readings = pa.concat_tables(curves).cast(CURVES_SCHEMA)
    store.objects.put(store.layout.curve_file(pack_id, attempt, number), encode_table(readings, fence=fence))
    store.objects.put(store.layout.row_file(pack_id, attempt, number), encode_rows(rows, RUNS_SCHEMA, fence))
