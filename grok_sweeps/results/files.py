"""The files that DuckDB reads: whole, of a schema this version knows, and on this machine.

DuckDB looks at no checksum and its S3 extension is not on PyPI, so it is never pointed at an object that was not looked
at: every object is checked once (`store.tables.check_table`). In a directory DuckDB then reads the file where it lies.
From a bucket an object is fetched once, many at a time, into a temporary folder that goes with this value. Row and
curve files never change, so a later query fetches only what is new.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from grok_sweeps.errors import CorruptObjectError, StoreError, UnreadableObjectWarning
from grok_sweeps.store.compact import is_compact, said_to_hold
from grok_sweeps.store.objects import ObjectInfo, ObjectStore, for_each
from grok_sweeps.store.segments import standing
from grok_sweeps.store.tables import Held, check_table, columns_of, held_files


class FileGoneError(StoreError):
    """An object was deleted after it was listed: its content is in another by now, or its sweep was deleted."""


@dataclass(frozen=True, slots=True)
class File:
    """An object that was checked, as a file; files with equal `columns` have the same ones, empty where not known."""

    info: ObjectInfo
    path: str
    columns: bytes = field(default=b"", repr=False, compare=False)
    held: Held = field(default=Held(), repr=False, compare=False)

    @property
    def sweep(self) -> str:
        """The sweep it is of: its folder, whatever name its rows carry."""
        return self.info.name.partition("/")[0]

    @property
    def originals(self) -> frozenset[str]:
        """The files whose content a compact one holds, as far as it tells them."""
        return self.held.originals


class Files:
    """The Parquet objects of a store as files that can be believed. Safe between threads."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._whole: dict[ObjectInfo, File] = {}
        self._said: dict[ObjectInfo, frozenset[str]] = {}
        self._columns: dict[bytes, bytes] = {}
        self._folder: Path | None = None
        self._lock = threading.Lock()

    def read(self, infos: Iterable[ObjectInfo]) -> list[File]:
        """The objects that can be read, but for those in whose place another stands; a warning for the others.

        Raises:
            FileGoneError: one of them is gone; the store is to be listed again.
        """
        wanted = {info.name: info for info in standing(infos)}
        with self._lock:
            gone = self._look_at([name for name in wanted if is_compact(name)], wanted)
            held = self._held(wanted)
            others = [name for name in wanted if name not in held and not is_compact(name)]
            gone += self._look_at(others, wanted)
            if gone:
                raise FileGoneError(f"{gone[0]}: gone since the store was listed; ask again.")
            whole = [self._whole[info] for info in wanted.values() if info in self._whole]
        return [file for file in whole if file.info.name not in held]

    def said_to_hold(self, infos: Sequence[ObjectInfo]) -> dict[ObjectInfo, frozenset[str]]:
        """The files whose content compact files say they hold, from their ends alone and not checked.

        One that says nothing is left out. It serves to leave objects unread, never to believe one.
        """
        with self._lock:
            said = {info: self._whole[info].originals for info in infos if info in self._whole}
            new = {info.name: info for info in infos if info not in said and info not in self._said}
            answers = for_each(self._objects, lambda name: said_to_hold(self._objects, name), list(new))
            self._said |= {new[name]: held.originals for name, held in zip(new, answers, strict=True) if held.files}
            return said | {info: self._said[info] for info in infos if info not in said and info in self._said}

    def _held(self, wanted: Mapping[str, ObjectInfo]) -> frozenset[str]:
        """The files in whose place one of `wanted` stands."""
        return frozenset().union(*(self._whole[info].held.files for info in wanted.values() if info in self._whole))

    def _look_at(self, names: Sequence[str], wanted: Mapping[str, ObjectInfo]) -> list[str]:
        """Check the objects that were not looked at before; return those that are gone."""
        new = [name for name in names if wanted[name] not in self._whole]
        if new and self._folder is None and self._objects.path("") is None:
            with _room_to_write():
                self._folder = Path(tempfile.mkdtemp(prefix="grok-sweeps-results-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

        def check(name: str) -> File | CorruptObjectError | None:
            data = self._objects.get(name)
            return None if data is None else self._check(wanted[name], data)

        gone = []
        for name, checked in zip(new, for_each(self._objects, check, new), strict=True):
            if isinstance(checked, CorruptObjectError):
                warnings.warn(f"skipped: {checked}", UnreadableObjectWarning, stacklevel=2)
            elif checked is None:
                gone.append(name)
            else:
                self._whole[wanted[name]] = checked
        return gone

    def _check(self, info: ObjectInfo, data: bytes) -> File | CorruptObjectError:
        name = info.name
        try:
            check_table(data, name)
            columns = columns_of(data)
            columns = self._columns.setdefault(columns, columns)
            held = held_files(data, name) if is_compact(name) else Held()
            path = self._objects.path(name) or self._fetched_path(name)
            file = File(info, str(path), columns, held)
        except CorruptObjectError as error:
            return error
        if self._folder is not None:
            _write(path, data)
        return file

    def _fetched_path(self, name: str) -> Path:
        assert self._folder is not None
        path = self._folder / name
        if ".." in path.parts:
            raise CorruptObjectError(f"{name}: not a name of this project.")
        return path


def _write(path: Path, data: bytes) -> None:
    with _room_to_write():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@contextmanager
def _room_to_write() -> Iterator[None]:
    """Say what to do where this machine's temporary folder takes no file."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the temporary folder {tempfile.gettempdir()}, which holds what is read from a bucket, cannot be written: "
            f"{error.strerror or error}; make room there, or set TMPDIR to another folder, and ask again."
        ) from error
