"""The row of a run that failed: its config, how far it was, and what went wrong in one line. It has no readings."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grok_sweeps.schema import RUNS_SCHEMA
from grok_sweeps.store.lease import check_fence
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.tables import encode_rows
from grok_sweeps.train.work import PackWork

if TYPE_CHECKING:
    from grok_sweeps.train.record import RunRecord

MOST_CHARACTERS = 500
_PACKAGE = Path(__file__).parents[1]


def one_line(error: BaseException) -> str:
    """An exception as one line: its type, its message, and where in this package it was raised."""
    where = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).is_relative_to(_PACKAGE):
            where = f" ({Path(frame.filename).relative_to(_PACKAGE.parent).as_posix()}:{frame.lineno})"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text[: MOST_CHARACTERS - len(where)] + where


def write_failed(
    store: SweepStore,
    work: PackWork,
    error: str,
    record: RunRecord | None,
    columns: Mapping[str, Any],
    fence: int | None = None,
) -> None:
    """Write the row of a pack's only run, alone in its file.

    Args:
        store: the sweep's objects.
        work: the pack.
        error: what went wrong, in one line.
        record: the run's history, if it had begun.
        columns: who tried to train it (`schema.PROVENANCE`), as far as it is known.
        fence: of the lease under which it was tried.

    Raises:
        LeaseLostError: another driver has taken over; nothing is written.
    """
    check_fence(store, fence)
    (run,) = work.runs
    now = datetime.now(UTC)
    row = {
        "sweep": store.sweep,
        "run_id": run.run_id,
        "cell_id": run.cell_id,
        **run.config.to_dict(),
        "outcome": "failed",
        "memorized_step": record.memorized_step if record else None,
        "steps_run": record.steps[-1] if record and record.steps else 0,
        "error": error,
        "w_c": run.reference.w_c,
        "fork_of": run.fork_of,
        **columns,
        "lanes": 1,
        "started_at": record.started_at if record else now,
        "finished_at": now,
        "wall_s": record.wall_s if record else 0.0,
    }
    name = store.layout.row_file(work.pack_id, columns["attempt"], 0)
    store.objects.put(name, encode_rows([row], RUNS_SCHEMA, fence))
