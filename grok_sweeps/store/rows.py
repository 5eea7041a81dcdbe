"""Finished runs as immutable Parquet files, read incrementally.

Two attempts at a pack may both write a run (an old worker that went on, a crash between row and checkpoint), so a
reader keeps one row a run_id: one that did not fail before one that did, then the one with the most steps, then the
earliest finished, then by attempt. A file that cannot be read is skipped with a warning that names it; the run it held
counts as missing and is trained again.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from grok_sweeps.errors import CorruptObjectError, UnreadableObjectWarning
from grok_sweeps.schema import CURVES_SCHEMA, RUNS_SCHEMA
from grok_sweeps.store.objects import get_each
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.tables import decode_table, encode_rows, encode_table

_NEEDED = {"run_id", "outcome", "steps_run", "finished_at", "attempt"}
PROGRESS_COLUMNS = frozenset(_NEEDED | {"grokked_step", "error"})
"""What watching a sweep takes: a driver keeps no more of 100,000 rows."""


LISTINGS = 3
"""Times a folder is listed whose files go while it is read (compaction)."""


class RowLog:
    """The finished runs of a sweep as last seen, in `columns` or whole; `refresh` reads only files that are new.

    Safe between threads: `rows` is replaced, never changed, and one `refresh` runs at a time, so whoever has called it
    sees every row that was written before.
    """

    def __init__(self, store: SweepStore, columns: frozenset[str] | None = None) -> None:
        self._store, self._columns = store, columns
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self.rows: Mapping[str, dict[str, Any]] = {}

    @property
    def n_files(self) -> int:
        """How many files have been read."""
        return len(self._seen)

    def refresh(self) -> list[dict[str, Any]]:
        """Read new row files; return the rows of runs not known before, in the order in which they finished."""
        with self._lock:
            known, newer, seen = self.rows, dict[str, dict[str, Any]](), set(self._seen)
            for _ in range(LISTINGS):
                whole = True
                for row in self._new_rows(seen):
                    if row is None:
                        whole = False
                        continue
                    older = newer.get(row["run_id"], known.get(row["run_id"]))
                    if older is None or _rank(row) < _rank(older):
                        newer[row["run_id"]] = row
                if whole:
                    break
            self._seen = seen
            if newer:
                self.rows = {**known, **newer}
        fresh = [row for run_id, row in newer.items() if run_id not in known]
        return sorted(fresh, key=lambda row: row["finished_at"])

    def _new_rows(self, seen: set[str]) -> Iterator[dict[str, Any] | None]:
        """Rows of files that are new; None for a file that is gone since it was listed: its rows are elsewhere."""
        objects = self._store.objects
        names = [info.name for info in objects.list(self._store.layout.rows) if info.name.endswith(".parquet")]
        new = [name for name in names if name not in seen]
        for name, data in zip(new, get_each(objects, new), strict=True):
            if data is None:
                yield None
                continue
            seen.add(name)
            try:
                table = decode_table(data, name, self._columns)
                if not set(table.column_names) >= _NEEDED:
                    raise CorruptObjectError(f"{name}: not a file of runs.")
                yield from table.to_pylist()
            except CorruptObjectError as error:
                warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=2)


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["outcome"] == "failed", -row["steps_run"], row["finished_at"], row["attempt"])


def delete_failed(store: SweepStore) -> int:
    """Delete the rows of runs that failed, so that these are missing again; return how many there were.

    The row of a run that failed is alone in its file.
    """
    deleted = 0
    names = [info.name for info in store.objects.list(store.layout.rows) if info.name.endswith(".parquet")]
    for name, data in zip(names, get_each(store.objects, names), strict=True):
        if data is None:
            continue
        try:
            outcomes = decode_table(data, name, {"outcome"}).column("outcome").to_pylist()
        except (CorruptObjectError, KeyError):
            continue
        if set(outcomes) == {"failed"}:
            store.objects.delete(name)
            deleted += len(outcomes)
    return deleted


def write_results(
    store: SweepStore,
    pack_id: str,
    attempt: str,
    number: int,
    rows: Sequence[Mapping[str, Any]],
    curves: Sequence[pa.Table],
    fence: int | None = None,
) -> None:
    """Write finished runs: the curves first, so that a row in the table always has its curve."""
    merged = pa.concat_tables(curves).cast(CURVES_SCHEMA)
    store.objects.put(store.layout.curve_file(pack_id, attempt, number), encode_table(merged, fence=fence))
    store.objects.put(store.layout.row_file(pack_id, attempt, number), encode_rows(rows, RUNS_SCHEMA, fence))
