"""The files of rows and of curves that one attempt at a pack writes: few, and little is written twice.

A *segment* is a Parquet file of some rows or readings. An attempt writes a small one at a time, as results come in
(`<pack>-<attempt>-000007.parquet`). From time to time it *seals* its newest small segments: what they hold, and what is
new, is written as one segment in their place, which is named by the numbers that it covers
(`<pack>-<attempt>-000001_000008.parquet`). So a listing alone says which files count: a segment that another one of the
same attempt covers does not. Covered files are deleted after the next segment is written, since a reader may have
listed them; a crash in between leaves files that no reader counts and `held_long_ago` finds.

The more segments are sealed, the more small ones wait to be sealed together. So an attempt that writes n small segments
leaves about twice the square root of n, and no byte is written more than twice. Small files are mostly header, so
`Segments` also counts: it seals only while all bytes written are at most twice those that stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from grok_sweeps.schema import CURVES_SCHEMA, RUNS_SCHEMA
from grok_sweeps.store.objects import ObjectInfo, ObjectStore
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.tables import encode_table, table_of_rows

FEWEST_SEALED = 8
"""Small segments that are sealed together at first."""
MOST_ROWS = 500_000
"""Rows or readings that wait to be sealed: an attempt keeps them in memory, at most 100 MB."""
WRITTEN_PER_BYTE = 2.0
"""Bytes written in all, at most, for each byte that stands at the end."""
AT_WORK_S = 120.0
"""An attempt at work writes curves every 20 s (`train.pack`); one that has not for so long has ended, or is lost."""

_NAME = re.compile(r"(?P<stem>(?:[^/]*/)*[^/]*-(?P<attempt>[^/-]+))-(?P<first>\d+)(?:_(?P<last>\d+))?\.parquet")


class Covers(NamedTuple):
    """Which numbers of which attempt at a pack a segment holds; `stem` is its name up to them."""

    stem: str
    attempt: str
    first: int
    last: int

    @property
    def writer(self) -> str:
        """Pack and attempt, the same for rows and curves."""
        return self.stem.rpartition("/")[2]


def covers(name: str) -> Covers | None:
    """What a segment's name says it holds; None of a file that is named otherwise."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    first = int(found["first"])
    return Covers(found["stem"], found["attempt"], first, int(found["last"] or first))


def covered(names: Iterable[str]) -> dict[str, str]:
    """The segments in whose place another of `names` stands, each with that one."""
    names = list(names)
    sealed: dict[str, list[tuple[Covers, str]]] = {}
    for name in names:
        if "_" in name.rpartition("/")[2] and (by := covers(name)) is not None:
            sealed.setdefault(by.stem, []).append((by, name))
    found: dict[str, str] = {}
    for name in names if sealed else ():
        if (held := covers(name)) is None:
            continue
        for by, its_name in sealed.get(held.stem, ()):
            if its_name != name and by.first <= held.first and held.last <= by.last:
                found[name] = its_name
                break
    return found


def standing(infos: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """The Parquet files of a listing that no other one covers."""
    files = [info for info in infos if info.name.endswith(".parquet")]
    left_out = covered(info.name for info in files)
    return [info for info in files if info.name not in left_out]


def at_work(curves: Iterable[ObjectInfo], now: float | None) -> frozenset[str]:
    """The writers (pack and attempt) that have written curves lately, by the clock that dates the files if it is told.

    One that is taken for ended and goes on does no harm: its readings are found twice, and counted once.
    """
    newest: dict[str, float] = {}
    for info in curves:
        if (held := covers(info.name)) is not None:
            newest[held.writer] = max(info.modified, newest.get(held.writer, 0.0))
    now = max(newest.values(), default=0.0) if now is None else now
    return frozenset(writer for writer, modified in newest.items() if now - modified <= AT_WORK_S)


@dataclass
class _Budget:
    """Bytes written so far, and of them those in files that count."""

    written: int = 0
    standing: int = 0

    def allows(self, size: int, in_place_of: int) -> bool:
        """Whether a segment may stand in the place of others."""
        return self.written + size <= WRITTEN_PER_BYTE * (self.standing - in_place_of + size)

    def add(self, size: int, in_place_of: int = 0) -> None:
        self.written += size
        self.standing += size - in_place_of


@dataclass
class _Series:
    """The segments of one folder: rows or curves."""

    objects: ObjectStore
    name: Callable[[int, int | None], str]
    """Of the segment from one number to another, or of a small one."""
    budget: _Budget
    fence: int | None
    tail: list[tuple[int, pa.Table, int]] = field(default_factory=list)
    """Number, content and size of the small segments that wait to be sealed."""
    covered: list[str] = field(default_factory=list)
    number: int = 0
    n_sealed: int = 0

    def write(self, new: pa.Table, *, last: bool) -> None:
        """Write new rows, sealed with the small segments before them where it is time."""
        waiting = self.tail
        enough = len(waiting) + bool(len(new)) >= (2 if last else FEWEST_SEALED + self.n_sealed)
        if enough or sum(len(table) for _, table, _ in waiting) >= MOST_ROWS:
            self.tail = []
            if self._seal(waiting, new):
                return
        if len(new):
            self.number += 1
            data = encode_table(new, fence=self.fence)
            self.objects.put(self.name(self.number, None), data)
            self.budget.add(len(data))
            if not enough:
                self.tail.append((self.number, new, len(data)))
        self.delete_covered()

    def _seal(self, waiting: Sequence[tuple[int, pa.Table, int]], new: pa.Table) -> bool:
        """Write one segment in the place of those that wait, with what is new, if that is not too much to write."""
        data = encode_table(pa.concat_tables([*(table for _, table, _ in waiting), new]), fence=self.fence)
        in_place_of = sum(size for _, _, size in waiting)
        if not self.budget.allows(len(data), in_place_of):
            return False
        self.number += bool(len(new))
        self.objects.put(self.name(waiting[0][0], self.number), data)
        self.budget.add(len(data), in_place_of)
        self.n_sealed += 1
        self.delete_covered()
        self.covered = [self.name(number, None) for number, _, _ in waiting]
        return True

    def delete_covered(self) -> None:
        """Delete the small segments in whose place one stands."""
        while self.covered:
            self.objects.delete(self.covered.pop())


class Segments:
    """What one attempt at a pack writes to the sweep's results. One call at a time.

    Args:
        store: the sweep's objects.
        pack_id: the pack.
        attempt: name of the attempt, unique over all workers.
        fence: of the driver's lease; stands in each file. Whoever writes checks it.
    """

    def __init__(self, store: SweepStore, pack_id: str, attempt: str, fence: int | None = None) -> None:
        budget, objects, layout = _Budget(), store.objects, store.layout
        self._curves = _Series(objects, partial(layout.curve_file, pack_id, attempt), budget, fence)
        self._rows = _Series(objects, partial(layout.row_file, pack_id, attempt), budget, fence)

    def write(self, rows: Sequence[Mapping[str, Any]], curves: Sequence[pa.Table], *, last: bool = False) -> None:
        """Write finished runs and new readings: the curves first, so that a row in the table always has its curve.

        Args:
            rows: finished runs; none is no file.
            curves: readings that are new (`schema.CURVES_SCHEMA`).
            last: the attempt ends, so what waits is sealed.
        """
        self._curves.write(pa.concat_tables([CURVES_SCHEMA.empty_table(), *curves]).cast(CURVES_SCHEMA), last=last)
        self._rows.write(table_of_rows(rows, RUNS_SCHEMA), last=last)
        if last:
            self._curves.delete_covered()
            self._rows.delete_covered()
