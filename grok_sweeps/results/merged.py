"""Many small files of rows as a few on this machine.

Opening a file costs a query more than reading the rows of a small one. Files of a few rows each, which are packed in
what was looked at of them (`store.packed`), are put together at once. Of the other small ones that were there at an
earlier query too, each further query copies some into one, for a moment, and reads that from then on; a single query,
as the command line asks, copies none. Where there is no room for what is put together, the files are read as they are.
A row keeps the file and place it came from, by which `winners` names it.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from grok_sweeps.results.files import File
from grok_sweeps.results.views import read_files
from grok_sweeps.store.objects import ObjectInfo
from grok_sweeps.store.packed import unpacked

FEWEST = 32
"""Fewer small files are read as they are."""
MOST_FILES, MOST_BYTES = 256, 8 << 20
"""Of one step; larger files are not small."""
MOST_PACKED = 2_048
"""Of one step: 70 MB of memory."""
A_MOMENT_S = 0.3
"""After this no further copy is begun."""


@dataclass(frozen=True)
class Merged:
    """Files of rows, and what to read in their place: `files`, with the paths of what was merged into each path."""

    rows: Sequence[File]
    files: list[File]
    origins: dict[str, frozenset[str]]

    def of(self, paths: Collection[str]) -> list[File]:
        """The files in which rows from `paths` are."""
        return [file for file in self.files if not self.origins[file.path].isdisjoint(paths)] if paths else []

    def placed(self, files: Sequence[File], renamed: Collection[str] = ()) -> str:
        """SQL that reads some of `files` with where each row came from: columns filename and file_row_number."""
        made = [file for file in files if file.path not in self.origins[file.path]]
        as_is = [file for file in files if file.path in self.origins[file.path]]
        scans = [(made, ""), (as_is, "filename = true, file_row_number = true")]
        return " UNION ALL BY NAME ".join(read_files(some, options, renamed) for some, options in scans if some)


class Merger:
    """What was merged so far. Not safe between threads: its owner holds a lock."""

    def __init__(self, session: duckdb.DuckDBPyConnection) -> None:
        self._database = session
        self._folder: Path | None = None
        self._seen: set[ObjectInfo] = set()
        self._merged: dict[File, frozenset[File]] = {}

    def merged(self, files: Sequence[File]) -> Merged:
        """What to read in place of `files`, after a moment's merging of those that were there before."""
        there = set(files)
        taken = self._taken(there)
        self._merge([file for file in files if file not in taken and (file.packed or file.info in self._seen)])
        self._seen |= {file.info for file in files}
        standing = {made: sources for made, sources in self._merged.items() if sources <= there}
        taken = self._taken(there)
        rest = [file for file in files if file not in taken]
        origins = {file.path: frozenset({file.path}) for file in rest}
        origins |= {made.path: frozenset(file.path for file in sources) for made, sources in standing.items()}
        return Merged(files, [*standing, *rest], origins)

    def _taken(self, there: set[File]) -> frozenset[File]:
        return frozenset().union(*(sources for sources in self._merged.values() if sources <= there))

    def _merge(self, files: Sequence[File]) -> None:
        until = monotonic() + A_MOMENT_S
        for batch in _batches(files):
            if not batch[0].packed and monotonic() >= until:
                return
            try:
                path = self._write(batch)
            except (OSError, pa.ArrowException, duckdb.IOException):
                return  # a query that needs what cannot be read says so
            made = File(ObjectInfo(f"{batch[0].sweep}/{path}", 0, 0.0), path, b"merged" + batch[0].schema)
            self._merged[made] = frozenset(batch)

    def _write(self, batch: Sequence[File]) -> str:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="grok-sweeps-merged-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = str(self._folder / f"{len(self._merged)}.parquet")
        if batch[0].packed:
            pq.write_table(_put_together(batch), path)
        else:
            read = read_files(batch, "filename = true, file_row_number = true")
            self._database.execute(f"COPY ({read}) TO '{path.replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")
        return path


def _put_together(files: Sequence[File]) -> pa.Table:
    """The rows of packed files of the same columns, with where each came from."""
    batches = [unpacked(file.packed, file.schema) for file in files]
    lengths = [len(batch) for batch in batches]
    paths = pa.array([file.path for file in files]).take(pa.array(np.repeat(np.arange(len(files)), lengths)))
    places = pa.array(np.concatenate([np.arange(length) for length in lengths]))
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.append_column("filename", paths).append_column("file_row_number", places)


def _batches(files: Sequence[File]) -> Iterator[list[File]]:
    """Small files of one sweep and the same columns, as many together as make one step; those that are packed first."""
    alike: dict[tuple[bool, str, bytes], list[File]] = {}
    for file in files:
        if file.schema and file.info.size < MOST_BYTES // FEWEST * 2:
            key = not file.packed, file.sweep, file.schema
            alike.setdefault(key, []).append(file)
    for (opened, _, _), small in sorted(alike.items()):
        most = MOST_FILES if opened else MOST_PACKED
        if len(small) < FEWEST:
            continue
        batch: list[File] = []
        size = 0
        for file in small:
            batch.append(file)
            size += file.info.size if opened else 0
            if len(batch) == most or size >= MOST_BYTES:
                yield batch
                batch, size = [], 0
        if len(batch) >= FEWEST:
            yield batch
