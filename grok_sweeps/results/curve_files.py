"""Which curve files a query has to read, by their names.

`write_results` writes the rows of some runs and their curves under one name, `<pack>-<attempt>-<number>`, in two
folders. So a row's `attempt` tells in which files its curve may be; and a curve file whose rows are there, none of them
in a later attempt's shadow, has nothing to leave out. Of a compact file the names it holds are asked. A name that tells
nothing, and a compact file made of compact files, may hold any run's curve.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from grok_sweeps.results.files import File
from grok_sweeps.store.compact import is_compact
from grok_sweeps.store.objects import ObjectInfo

_NAME = re.compile(r"[^/]*-([^/-]+)-\d+\.parquet")


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


def split(curves: Sequence[File], rows: Sequence[File], lost: Collection[str]) -> tuple[list[File], list[File]]:
    """Curve files all of whose readings are of rows in the table, and the others; `lost` are attempts with rows not."""
    written = {_stem(name) for file in rows for name in (file.holds or (file.info.name,))}
    shadowed = {*lost, None}

    def is_whole(file: File) -> bool:
        names = file.holds or (file.info.name,)
        return all(_stem(name) in written and _attempt(name) not in shadowed for name in names)

    if any("-" in attempt for attempt in lost):
        return [], list(curves)
    whole = [file for file in curves if is_whole(file)]
    taken = set(whole)
    return whole, [file for file in curves if file not in taken]


def _attempt(name: str) -> str | None:
    found = None if is_compact(name) else _NAME.fullmatch(name.rpartition("/")[2])
    return None if found is None else found[1]


def _stem(name: str) -> tuple[str, str]:
    """Sweep and file name: what rows and curves of one write share."""
    return name.partition("/")[0], name.rpartition("/")[2]
