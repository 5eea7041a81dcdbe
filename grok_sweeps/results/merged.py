"""Many small files of rows as a few on this machine, made bit by bit while a store is asked again and again.

Opening a file costs a query more than reading the rows of a small one. So of the files that were there at an earlier
query too, each further query copies some into one, for a moment, and reads that from then on; a single query, as the
command line asks, copies nothing. A row keeps the file and place it came from, by which `winners` names it.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import duckdb

from grok_sweeps.results.files import File
from grok_sweeps.results.views import read_files
from grok_sweeps.store.objects import ObjectInfo

FEWEST = 32
"""Fewer small files are read as they are."""
MOST_FILES, MOST_BYTES = 256, 8 << 20
"""Of one step; larger files are not small."""
A_MOMENT_S = 0.3
"""After this no further step is begun."""


@dataclass(frozen=True)
class Merged:
    """Files of rows, the paths of what was merged into each path (a file as it is: itself)."""

    files: list[File]
    origins: dict[str, frozenset[str]]


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
        self._merge([file for file in files if file.info in self._seen and file not in taken])
        self._seen |= {file.info for file in files}
        standing = {made: sources for made, sources in self._merged.items() if sources <= there}
        taken = self._taken(there)
        rest = [file for file in files if file not in taken]
        origins = {file.path: frozenset({file.path}) for file in rest}
        origins |= {made.path: frozenset(file.path for file in sources) for made, sources in standing.items()}
        return Merged([*standing, *rest], origins)

    def _taken(self, there: set[File]) -> frozenset[File]:
        return frozenset().union(*(sources for sources in self._merged.values() if sources <= there))

    def _merge(self, files: Sequence[File]) -> None:
        until = monotonic() + A_MOMENT_S
        for batch in _batches(files):
            if monotonic() >= until:
                return
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="grok-sweeps-merged-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            path = str(self._folder / f"{len(self._merged)}.parquet")
            read = read_files(batch, "filename = true, file_row_number = true")
            self._database.execute(f"COPY ({read}) TO '{path.replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")
            made = File(ObjectInfo(path, 0, 0.0), path, b"merged" + batch[0].signature)
            self._merged[made] = frozenset(batch)


def _batches(files: Sequence[File]) -> Iterator[list[File]]:
    """Small files of one sweep and the same columns, as many together as make one step."""
    alike: dict[tuple[str, bytes], list[File]] = {}
    for file in files:
        if file.signature and file.info.size < MOST_BYTES // FEWEST * 2:
            alike.setdefault((file.info.name.partition("/")[0], file.signature), []).append(file)
    for small in alike.values():
        if len(small) < FEWEST:
            continue
        batch: list[File] = []
        for file in small:
            batch.append(file)
            if len(batch) == MOST_FILES or sum(one.info.size for one in batch) >= MOST_BYTES:
                yield batch
                batch = []
        if len(batch) >= FEWEST:
            yield batch
