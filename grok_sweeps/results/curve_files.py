"""Which curve files a query has to read, by their names.

`write_results` writes the rows of some runs and their curves under one name, `<pack>-<attempt>-<number>`, in two
folders. So a row's `attempt` tells in which files its curve may be; and a curve file whose rows are there, none of them
in a later attempt's shadow, has nothing to leave out. Of a compact file the names it holds are asked. A name that tells
nothing, and a compact file that does not tell what another held, may hold any run's curve.

A sync tool or two concurrent compactions can leave the same readings in several files. A file is a `stray` if another
file claims the same name or no rows file has it. Strays are read to find duplicates.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grok_sweeps.results.files import File
from grok_sweeps.store.compact import is_compact
from grok_sweeps.store.objects import ObjectInfo

if TYPE_CHECKING:
    from grok_sweeps.results.winners import Lost

_NAME = re.compile(r"[^/]*-([^/-]+)-\d+\.parquet")


@dataclass(frozen=True)
class Split:
    """Curve files: `whole` ones, all of whose readings are of rows in the table; the `others`; `strays` among these."""

    whole: Sequence[File]
    others: Sequence[File]
    strays: Sequence[File]


def may_hold(
    infos: Iterable[ObjectInfo], said: Mapping[ObjectInfo, Collection[str]], attempts: Collection[str]
) -> list[ObjectInfo]:
    """The curve files in which readings of `attempts` may be; `said` is what compact ones say they hold."""
    if any("-" in attempt for attempt in attempts):
        return list(infos)
    wanted = {*attempts, None}
    return [
        info
        for info in infos
        if any(_attempt(name) in wanted for name in (said.get(info, ("",)) if is_compact(info.name) else (info.name,)))
    ]


def split(curves: Sequence[File], rows: Sequence[File], lost: Lost) -> Split:
    """Sort curve files by what has to be looked at; `rows` are all files of rows."""
    written = {_stem(name) for file in rows if file.info.name not in lost.misnamed for name in _names(file)}
    twice = _claimed_twice(curves)
    whole, others, strays = list[File](), list[File](), list[File]()
    for file in curves:
        stems = {_stem(name) for name in _names(file)}
        attempts = {_attempt(name) for name in _names(file)}
        if None in attempts or not stems <= written or not stems.isdisjoint(twice):
            strays.append(file)
            others.append(file)
        elif lost.attempts and not lost.attempts.isdisjoint((file.sweep, attempt) for attempt in attempts if attempt):
            others.append(file)
        else:
            whole.append(file)
    return Split(whole, others, strays)


def all_as_others(curves: Sequence[File]) -> Split:
    """Curve files of a few runs, of which all is looked at whether it stands in the table."""
    if len(curves) < 2:
        return Split([], curves, [])
    twice = _claimed_twice(curves)
    strays = [file for file in curves if any(_attempt(n) is None or _stem(n) in twice for n in _names(file))]
    return Split([], curves, strays)


def named_by(files: Iterable[File], attempts: Collection[tuple[str, str]]) -> list[File]:
    """The files that are named by one of the attempts, each with its sweep."""
    return [
        file for file in files if not {(file.sweep, attempt) for attempt in attempts_named(file)}.isdisjoint(attempts)
    ]


def attempts_named(file: File) -> frozenset[str]:
    """The attempts that a file's name, or the names it holds, tell."""
    return frozenset(attempt for name in _names(file) if (attempt := _attempt(name)) is not None)


def _names(file: File) -> Collection[str]:
    return file.originals or (file.info.name,)


def _claimed_twice(files: Sequence[File]) -> set[tuple[str, str]]:
    seen, twice = set[tuple[str, str]](), set[tuple[str, str]]()
    for file in files:
        stems = {_stem(name) for name in _names(file)}
        twice |= seen & stems
        seen |= stems
    return twice


def _attempt(name: str) -> str | None:
    found = None if is_compact(name) else _NAME.fullmatch(name.rpartition("/")[2])
    return None if found is None else found[1]


def _stem(name: str) -> tuple[str, str]:
    """Sweep and file name: what rows and curves of one write share."""
    return name.partition("/")[0], name.rpartition("/")[2]
