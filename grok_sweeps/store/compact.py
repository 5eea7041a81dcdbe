"""A few large files of rows and curves in place of the many small ones that a sweep leaves.

A compact file names in its footer the files whose content it holds, also those that a compact one among them held, and
who reads it leaves those out. So it takes their place the moment it is there, whole. They are deleted by a later
compaction, or by `gc`, when every reader that listed the store before has long finished; a crash in between changes
nothing. Files that cannot be read, and rows of runs that failed, which `resume --failed` deletes, stay as they are.
The holder of the sweep's lease compacts, and looks that it still has it before it writes and before it deletes. What is
deleted is held by a compact file that was read and found whole, so two at once would at worst do everything twice.

Attempts at work seal segments of their own (`store.segments`), so while a sweep is driven theirs are left alone. At its
end all are taken, and readings are left out that no query shows: those of an attempt at a run that another attempt has
finished for good. Those of an attempt that has just written stay, since a worker that was lost may write a row yet.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from grok_sweeps.errors import CorruptObjectError, LeaseLostError, StoreError, UnreadableObjectWarning
from grok_sweeps.schema import CURVES_SCHEMA, RUNS_SCHEMA
from grok_sweeps.store.objects import ObjectStore, for_each, get_each
from grok_sweeps.store.rows import Row
from grok_sweeps.store.segments import at_work, covered, covers, standing
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.tables import Held, check_table, decode_table, encode_table, held_by, held_files

Known: TypeAlias = dict[str, frozenset[str]]
"""What compact files hold, by their names."""

FEWEST_FILES = 8
"""A folder with fewer files is left alone."""
GRACE_S = 600.0
"""A compact file as old as this is known to every reader."""
CHECK_EVERY = 100
"""Files that are deleted between two looks at the lease."""
MOST_ROWS = {"rows": 20_000, "curves": 500_000}
"""Rows of a compact file, about: a hundred MB while it is made, in the driver's process."""
FULL = "-full"
"""Ends the name of a compact file with that many, which is not read again."""
LARGE_BYTES = 20 << 20
"""Nor is a file of this size."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """How many files were read and how many stand in their place."""

    files_before: int = 0
    files_after: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(self.files_before + other.files_before, self.files_after + other.files_after)


def compact(
    store: SweepStore,
    check: Callable[[], None] = lambda: None,
    *,
    at_the_end: bool = True,
    finished: Mapping[str, Row] | None = None,
    known: Known | None = None,
) -> Compacted:
    """Compact a sweep's rows and curves; nothing where there are few files, and nothing more once the lease is lost.

    The curves come first, so that a row in the table always has its curve.

    Args:
        store: the sweep.
        check: raises `LeaseLostError` where the lease is another's: `Lease.check`.
        at_the_end: no attempt is under way.
        finished: rows by run_id; readings of these runs by other attempts are left out.
        known: compact files that were read and found whole; the caller keeps it from one compaction to the next.

    Raises:
        StoreError: the store cannot be written; what was there still is.
    """
    done = Compacted()
    if is_worth_compacting(store):
        with suppress(LeaseLostError):
            # Listed anew: another may have compacted what was seen above.
            for folder in _folders(store, {} if known is None else known, finished, at_the_end=at_the_end):
                for files in folder.compacted(check):
                    done += files
    return done


def is_worth_compacting(store: SweepStore) -> bool:
    """Whether a sweep has many files that nothing stands in the place of."""
    return any(folder.is_worth_it() for folder in _folders(store, {}, glance=True))


def held_long_ago(store: SweepStore, folder: str, now: float | None, known: Known | None = None) -> list[str]:
    """The files of a folder in whose place another has stood for a while: nobody needs them.

    In the order in which they are to be deleted: a compact file stands after what it holds, so that whatever is still
    there after a crash is held by a file that is there.
    """
    infos = list(store.objects.list(folder))
    if now is None:
        return []
    old = {info.name for info in infos if now - info.modified >= GRACE_S}
    held = _held(store, [name for name in old if is_compact(name)], {} if known is None else known)
    sealed = {name: by for name, by in covered(info.name for info in infos).items() if by in old}
    whole = {name for name, _ in _whole(store, sorted(set(sealed.values())))}
    held |= {name for name, by in sealed.items() if by in whole}
    found = [info for info in infos if info.name in held]
    return [info.name for info in sorted(found, key=lambda info: (is_compact(info.name), info.modified, info.name))]


def is_compact(name: str) -> bool:
    """Whether a file stands in the place of others."""
    return name.rpartition("/")[2].startswith("compact-") and name.endswith(".parquet")


def said_to_hold(objects: ObjectStore, name: str) -> Held:
    """What a compact file says it holds, from its end alone and not checked; nothing where that cannot be read.

    It serves to leave objects unread, never to believe one.
    """
    try:
        file = objects.open(name)
        if file is None:
            return Held()
        with file:
            return held_by(file, name)
    except (StoreError, pa.ArrowException, OSError, ValueError):
        return Held()  # whoever reads it whole says what is wrong


def _held(store: SweepStore, compact_names: Sequence[str], known: Known) -> frozenset[str]:
    """The files that compact files hold, as far as these can be read."""
    new = [name for name in compact_names if name not in known]
    known.update((name, held_files(data, name).files) for name, data in _whole(store, new))
    return frozenset().union(*(known[name] for name in compact_names if name in known))


def _whole(store: SweepStore, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The files that can be read, each with its content; of others whoever reads rows says so."""
    for name, data in zip(names, get_each(store.objects, names), strict=True):
        try:
            if data is not None:
                check_table(data, name)
                yield name, data
        except CorruptObjectError:
            continue


@dataclass(frozen=True, slots=True)
class _Won:
    """The attempt that has finished each run."""

    run_ids: pa.Array
    attempts: pa.Array

    def readings(self, table: pa.Table) -> pa.Table:
        """Readings but for those of an attempt at a run that another attempt has finished."""
        if not len(self.run_ids):
            return table
        finished_by = self.attempts.take(pc.index_in(table["run_id"], value_set=self.run_ids))
        return table.filter(pc.fill_null(pc.equal(finished_by, table["attempt"]), True))


def _folders(
    store: SweepStore,
    known: Known,
    finished: Mapping[str, Row] | None = None,
    *,
    glance: bool = False,
    at_the_end: bool = True,
) -> list[_Folder]:
    for_good = {run_id: row for run_id, row in (finished or {}).items() if row["outcome"] in ("grokked", "diverged")}
    finished_by = {run_id: row["attempt"] for run_id, row in for_good.items()}
    won = _Won(pa.array(finished_by.keys(), pa.string()), pa.array(finished_by.values(), pa.string()))
    curves = list(store.objects.list(store.layout.curves))
    busy = at_work(curves, store.objects.server_time())
    listed = [
        (store.layout.curves, CURVES_SCHEMA, curves),
        (store.layout.rows, RUNS_SCHEMA, store.objects.list(store.layout.rows)),
    ]
    folders = list[_Folder]()
    for name, schema, infos in listed:
        free = [
            info.name
            for info in standing(infos)
            if info.size < LARGE_BYTES and (at_the_end or not _is_of(busy, info.name))
        ]
        folders.append(_Folder(store, name, schema, free, won, busy, known, glance=glance))
    return folders


class _Folder:
    """A folder of rows or of curves, as it was listed; at a `glance` compact files are believed what they say."""

    def __init__(
        self,
        store: SweepStore,
        name: str,
        schema: pa.Schema,
        names: Sequence[str],
        won: _Won,
        busy: frozenset[str],
        known: Known,
        *,
        glance: bool,
    ) -> None:
        self._store, self._name, self._schema = store, name, schema
        self._won, self._busy, self._known = won, busy, known
        self._most_rows = MOST_ROWS[name.rpartition("/")[2]]
        made = [n for n in names if is_compact(n)] if len(names) >= FEWEST_FILES else []
        if glance:
            said = for_each(store.objects, lambda n: said_to_hold(store.objects, n), made)
            held = frozenset[str]().union(*(one.files for one in said))
        else:
            held = _held(store, made, known)
        self._live = [n for n in names if n not in held and not n.endswith(f"{FULL}.parquet")]

    def is_worth_it(self) -> bool:
        """Whether there are many files that nothing stands in the place of."""
        return len(self._live) >= FEWEST_FILES

    def compacted(self, check: Callable[[], None]) -> Iterator[Compacted]:
        """Delete what others have held for long, then write the compact files; yield what each stands for."""
        objects = self._store.objects
        unneeded = held_long_ago(self._store, self._name, objects.server_time(), self._known)
        for n, name in enumerate(unneeded):
            if n % CHECK_EVERY == 0:
                check()
            objects.delete(name)
        if self.is_worth_it():
            for sources, table in self._groups():
                digest = hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]
                data = encode_table(_sorted(table), _all_held(sources))
                check()
                full = FULL if table.num_rows >= self._most_rows else ""
                objects.put(f"{self._name}/compact-{digest}{full}.parquet", data)
                yield Compacted(len(sources), 1)

    def _groups(self) -> Iterator[tuple[dict[str, Held], pa.Table]]:
        """Files that go together and their content, of about the most rows; a file alone is left as it is.

        Each file comes with what it holds, if it is compact.
        """
        sources: dict[str, Held] = {}
        tables: list[pa.Table] = []
        for name, data in zip(self._live, get_each(self._store.objects, self._live), strict=True):
            try:
                table = None if data is None else decode_table(data, name)
            except CorruptObjectError as error:
                warnings.warn(f"skipped: {error}", UnreadableObjectWarning, stacklevel=2)
                continue
            if data is None or table is None or _all_failed(table) or table.num_rows >= self._most_rows:
                continue
            sources[name] = held_files(data, name) if is_compact(name) else Held()
            is_final = self._schema is CURVES_SCHEMA and not _is_of(self._busy, name)
            wanted = self._won.readings(table) if is_final else table
            tables.append(_as(wanted, self._schema))
            if sum(t.num_rows for t in tables) >= self._most_rows:
                yield sources, pa.concat_tables(tables)
                sources, tables = {}, []
        if len(sources) > 1:
            yield sources, pa.concat_tables(tables)


def _is_of(writers: frozenset[str], name: str) -> bool:
    """Whether one of these writers has written a segment."""
    held = covers(name)
    return held is not None and held.writer in writers


def _all_held(sources: Mapping[str, Held]) -> Held:
    """What a file holds that is made of `sources`."""
    told = {name for name, held in sources.items() if held.files}
    return Held(
        frozenset(sources).union(*(held.files for held in sources.values())),
        frozenset(told).union(*(held.told for held in sources.values())),
    )


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
