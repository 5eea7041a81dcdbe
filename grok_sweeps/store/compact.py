"""A few large files of rows and curves in place of the many small ones that a sweep leaves.

A compact file names in its footer the files whose content it holds, and who reads it leaves those out. So it takes
their place the moment it is there, whole; that they are deleted afterwards is housekeeping, and a crash in between
changes nothing. A reader that has listed a file which is then gone lists again. Files that cannot be read, and rows of
runs that failed, which `resume --failed` deletes, stay as they are. One process at a time, by a claim in the store: two
at once would hold the same curves twice.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from grok_sweeps.errors import CorruptObjectError, UnreadableObjectWarning
from grok_sweeps.schema import CURVES_SCHEMA, RUNS_SCHEMA
from grok_sweeps.store.documents import encode_document
from grok_sweeps.store.objects import for_each
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.tables import decode_table, encode_table, held_files

FEWEST_FILES = 8
"""A folder with fewer files is left alone."""
CLAIM_S = 3600.0
"""A claim as old as this has lost its owner."""
MOST_ROWS = {"rows": 200_000, "curves": 2_000_000}
"""Rows of a compact file, about: some hundred MB while it is made."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """How many files were read and how many stand in their place."""

    files_before: int = 0
    files_after: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(self.files_before + other.files_before, self.files_after + other.files_after)


def compact(store: SweepStore) -> Compacted:
    """Compact a sweep's rows and curves; nothing while another process does it, or where there are few files.

    The curves come first, so that a row in the table always has its curve.

    Raises:
        StoreError: the store cannot be written; what was there still is.
    """
    folders = {store.layout.curves: CURVES_SCHEMA, store.layout.rows: RUNS_SCHEMA}
    work = {folder: names for folder in folders if len(names := _files(store, folder)) >= FEWEST_FILES}
    if not work or not _claimed(store):
        return Compacted()
    try:
        done = Compacted()
        for folder, names in work.items():
            done += _compact_folder(store, folder, names, folders[folder])
        return done
    finally:
        store.objects.delete(store.layout.compacting)


def superseded(held: Sequence[frozenset[str]]) -> frozenset[str]:
    """The files to be left out where compact files hold these."""
    return frozenset().union(*held)


def _files(store: SweepStore, folder: str) -> list[str]:
    return [info.name for info in store.objects.list(folder) if info.name.endswith(".parquet")]


def _claimed(store: SweepStore) -> bool:
    """Whether this process may compact, which it then has to give back."""
    name, now = store.layout.compacting, store.objects.server_time()
    for info in store.objects.list(store.sweep):
        if info.name == name and now is not None and now - info.modified > CLAIM_S:
            store.objects.delete(name)
    return store.objects.create(name, encode_document({}))


def _compact_folder(store: SweepStore, folder: str, names: Sequence[str], schema: pa.Schema) -> Compacted:
    objects, done = store.objects, Compacted()
    most_rows = MOST_ROWS[folder.rpartition("/")[2]]
    for sources, table in _groups(store, names, schema, most_rows):
        digest = hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]
        objects.put(f"{folder}/compact-{digest}.parquet", encode_table(_sorted(table), sources))
        for name in sources:
            objects.delete(name)
        done += Compacted(len(sources), 1)
    return done


def _groups(
    store: SweepStore, names: Sequence[str], schema: pa.Schema, most_rows: int
) -> Iterator[tuple[list[str], pa.Table]]:
    """Files that go together and their content, of about `most_rows` rows; a file alone is left as it is."""
    sources: list[str] = []
    tables: list[pa.Table] = []
    gone: frozenset[str] = frozenset()
    for name, data in zip(names, for_each(store.objects, store.objects.get, names), strict=True):
        if data is None:
            continue
        try:
            table = decode_table(data, name)
        except CorruptObjectError as error:
            warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=2)
            continue
        gone |= held_files(data)
        if name in gone or _all_failed(table) or table.num_rows >= most_rows:
            continue
        sources.append(name)
        tables.append(_as(table, schema))
        if sum(t.num_rows for t in tables) >= most_rows:
            yield sources, pa.concat_tables(tables)
            sources, tables = [], []
    if len(sources) > 1:
        yield sources, pa.concat_tables(tables)


def _all_failed(table: pa.Table) -> bool:
    return "outcome" in table.column_names and pc.all(pc.equal(table["outcome"], "failed")).as_py() is True


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in today's columns; those that an older version did not write are null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    nullable = pa.schema([field.with_nullable(True) for field in schema], metadata=schema.metadata)
    return pa.Table.from_arrays(columns, schema=nullable)


def _sorted(table: pa.Table) -> pa.Table:
    """By run, so that a run's rows are found in one place; equal readings of one attempt, if any, once."""
    keys = [name for name in ("run_id", "attempt", "step") if name in table.column_names]
    table = table.sort_by([(name, "ascending") for name in keys])
    if "step" not in keys or len(table) < 2:
        return table
    new = [pc.not_equal(table[name].slice(1), table[name].slice(0, len(table) - 1)) for name in keys]
    first = pc.or_(pc.or_(new[0], new[1]), new[2])
    return table.filter(pa.chunked_array([pa.array([True]), *first.chunks]))
