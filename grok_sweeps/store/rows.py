"""Finished runs, read incrementally from Parquet files that never change.

Two attempts at a pack may both write a run (an old worker that went on, a crash between row and checkpoint), so a
reader keeps one row a run_id: one that did not fail before one that did, then the one with the most steps, then the
earliest finished, then by attempt. A file that cannot be read is skipped with a warning that names it; the run it held
counts as missing and is trained again.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from grok_sweeps.errors import CorruptObjectError, UnreadableObjectWarning
from grok_sweeps.store.objects import get_each
from grok_sweeps.store.segments import covers, standing
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.tables import decode_table

_NEEDED = {"run_id", "outcome", "steps_run", "finished_at", "attempt"}
PROGRESS_COLUMNS = frozenset(_NEEDED | {"grokked_step", "error"})
"""What watching a sweep takes: a driver keeps no more of 100,000 rows."""


Row = dict[str, Any]

LISTINGS = 3
"""Times a folder is listed whose files go while it is read (compaction)."""


class RowsSoFar(Mapping[str, Row]):
    """Rows by run_id as they come in, safe between threads: no run's is ever taken out, and one may be replaced.

    Looking a row up costs the same however many there are. Whoever goes through them sees the runs of one moment.
    """

    def __init__(self, rows: dict[str, Row]) -> None:
        self._rows = rows

    def __getitem__(self, run_id: str) -> Row:
        return self._rows[run_id]

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._rows))

    def __len__(self) -> int:
        return len(self._rows)


class RowLog:
    """The finished runs of a sweep as last seen, in `columns` or whole; `refresh` reads only files that are new.

    Safe between threads: one `refresh` runs at a time, so whoever has called it finds in `rows` every row that was
    written before.
    """

    def __init__(self, store: SweepStore, columns: frozenset[str] | None = None) -> None:
        self._store, self._columns = store, columns
        self._seen: set[str] = set()
        self._numbers: dict[str, set[int]] = {}
        """Of each attempt at a pack the numbers of the segments that were read."""
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._changed: list[str] = []
        """Runs in the order in which their rows came in; one whose row was replaced is there again."""
        self.rows: Mapping[str, Row] = RowsSoFar(self._rows)

    @property
    def n_files(self) -> int:
        """How many files have been read."""
        return len(self._seen)

    def refresh(self) -> None:
        """Read new row files."""
        with self._lock:
            for _ in range(LISTINGS):
                if self._read_new_files():
                    return

    def changed_since(self, n: int) -> list[str]:
        """The runs whose rows have come in, or have been replaced, since there had been `n` such changes."""
        return self._changed[n:]

    def _read_new_files(self) -> bool:
        """Read the files that are new; return whether none was gone since it was listed: its rows are elsewhere."""
        objects, whole = self._store.objects, True
        names = [info.name for info in standing(objects.list(self._store.layout.rows))]
        new = [name for name in names if name not in self._seen and not self._has_read_what_is_in(name)]
        for name, data in zip(new, get_each(objects, new), strict=True):
            if data is None:
                whole = False
                continue
            try:
                table = decode_table(data, name, self._columns)
                if not set(table.column_names) >= _NEEDED:
                    raise CorruptObjectError(f"{name}: not a file of runs.")
                for row in table.to_pylist():
                    self._take(row)
            except CorruptObjectError as error:
                warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=3)
            self._see(name)
        return whole

    def _see(self, name: str) -> None:
        self._seen.add(name)
        if (held := covers(name)) is not None:
            self._numbers.setdefault(held.stem, set()).update(range(held.first, held.last + 1))

    def _has_read_what_is_in(self, name: str) -> bool:
        """Whether every segment in whose place this one stands was read."""
        held = covers(name)
        return held is not None and self._numbers.get(held.stem, set()).issuperset(range(held.first, held.last + 1))

    def _take(self, row: Row) -> None:
        run_id = row["run_id"]
        older = self._rows.get(run_id)
        if older is None or _rank(row) < _rank(older):
            self._rows[run_id] = row
            self._changed.append(run_id)


class NewRows:
    """The rows of a log that are new to one reader. Not safe between threads."""

    def __init__(self, log: RowLog) -> None:
        self._log, self._n = log, 0

    def take(self) -> dict[str, Row]:
        """Rows by run_id that have come in, or have been replaced, since the last call."""
        changed = self._log.changed_since(self._n)
        self._n += len(changed)
        return {run_id: self._log.rows[run_id] for run_id in changed}


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["outcome"] == "failed", -row["steps_run"], row["finished_at"], row["attempt"])


def delete_failed(store: SweepStore) -> int:
    """Delete the rows of runs that failed, so that these are missing again; return how many there were.

    The row of a run that failed is alone in its file.
    """
    deleted = 0
    names = [info.name for info in standing(store.objects.list(store.layout.rows))]
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
