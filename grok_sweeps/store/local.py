"""A directory as the store.

Atomic by temporary file, fsync and rename in the same folder; create-once by a hard link, which fails where the name is
taken, or on a file system without hard links by a rename that replaces nothing. An object's ETag is the SHA-256 of its
bytes; it is compared and replaced under a lock (flock) on a file beside the object, which ends with its process.
Temporary files and locks start with a dot, so no listing shows those that killed writers left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from grok_sweeps.errors import NoConditionalWritesError, StoreError
from grok_sweeps.store.objects import Leftover, ObjectInfo

_FIXES = {
    errno.ENOSPC: "the disk is full; free space and run the same command again, finished runs are kept",
    errno.EDQUOT: "the quota is used up; free space and run the same command again, finished runs are kept",
    errno.EROFS: "the file system is read-only; name a writable directory with --store",
    errno.EACCES: "permission denied; name a writable directory with --store or change its permissions",
    errno.EPERM: "permission denied; name a writable directory with --store or change its permissions",
    errno.ENOTDIR: "a file stands where a directory is needed; name another directory with --store",
    errno.EEXIST: "a file stands where a directory is needed; name another directory with --store",
}

_NO_LINKS = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""What file systems without hard links answer, in a folder where a file could just be written."""
_NO_RENAME = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
LOCK_WAIT_S = 10.0
"""Longest wait for another process that replaces the same object, which takes it a millisecond."""


class LocalObjects:
    """An `ObjectStore` in the directory `root`, which is made at the first write."""

    parallel = 1

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def put(self, name: str, data: bytes) -> None:
        """Write an object, replacing what was there."""
        with self._written(name, data) as temporary:
            os.replace(temporary, self._path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless one is there; return whether this call wrote it."""
        with self._written(name, data) as temporary:
            try:
                _move_once(temporary, self._path(name))
            except FileExistsError:
                return False
            except _CannotCreateError as error:
                raise NoConditionalWritesError(
                    f"store {self.uri}: cannot create {name}: the file system has neither hard links nor a rename that "
                    "replaces nothing, without which two drivers could both win; name a directory on another with "
                    "--store."
                ) from error
            return True

    def replace(self, name: str, data: bytes, etag: str) -> str | None:
        """Write an object if its ETag is still `etag`; return its new ETag, or None where it was not."""
        with self._written(name, data) as temporary, self._locked(name):
            found = self.get_with_etag(name)
            if found is None or found[1] != etag:
                return None
            os.replace(temporary, self._path(name))
        return _etag(data)

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes, or None where there is none."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("read", name, error) from error

    def get_with_etag(self, name: str) -> tuple[bytes, str] | None:
        """Return an object's bytes and their SHA-256, or None where there is none."""
        data = self.get(name)
        return None if data is None else (data, _etag(data))

    def open(self, name: str) -> BinaryIO | None:
        """Open an object for random reads, or None where there is none."""
        try:
            return self._path(name).open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("read", name, error) from error

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below a folder, in order of their names."""
        return self._files(prefix, temporary=False)

    def folders(self) -> Iterator[str]:
        """Yield the names of the folders at the top: one a sweep."""
        if self.root.is_dir():
            yield from sorted(entry.name for entry in self.root.iterdir() if entry.is_dir())

    def delete(self, name: str) -> None:
        """Remove an object if it is there."""
        path = self._path(name)
        try:
            with self._locked(name) if _lock_of(path).exists() else contextlib.nullcontext():
                path.unlink(missing_ok=True)
                _lock_of(path).unlink(missing_ok=True)
        except OSError as error:
            raise self._error("delete", name, error) from error

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        """Yield the temporary files below a folder."""
        for info in self._files(prefix, temporary=True):
            yield Leftover(info, partial(self.delete, info.name))

    def path(self, name: str) -> Path:
        """Return the object's file."""
        return self._path(name)

    def address(self, name: str) -> str:
        """Return the object's path."""
        return str(self._path(name))

    def server_time(self) -> float:
        """Return the time by which the file system dates a file that is written now."""
        with self._written(f"time-{secrets.token_hex(4)}", b"") as temporary:
            return temporary.stat().st_mtime

    def _files(self, prefix: str, *, temporary: bool) -> Iterator[ObjectInfo]:
        try:
            with os.scandir(self._path(prefix)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._error("list", prefix, error) from error
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        folders = []
        for entry in entries:
            if entry.is_dir():
                folders.append(entry)
            elif entry.name.startswith(".") == temporary and not _is_lock(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat()
                    yield ObjectInfo(below + entry.name, stat.st_size, stat.st_mtime)
        for folder in folders:
            if not folder.is_symlink():
                yield from self._files(below + folder.name, temporary=temporary)

    def _path(self, name: str) -> Path:
        return self.root / name

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Keep every other process from replacing or deleting an object; the lock goes with the object."""
        path, began = _lock_of(self._path(name)), time.monotonic()
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if _try_lock(descriptor) and _is_file_of(descriptor, path):  # and not one that was deleted meanwhile
                    yield
                    return
            except _CannotLockError as error:
                path.unlink(missing_ok=True)
                raise NoConditionalWritesError(
                    f"store {self.uri}: cannot change {name}: the file system has no file locks, without which two "
                    "drivers could both win; name a directory on another with --store."
                ) from error
            finally:
                os.close(descriptor)
            if time.monotonic() - began > LOCK_WAIT_S:
                raise StoreError(
                    f"store {self.uri}: cannot change {name}: another process has held {path} locked for "
                    f"{LOCK_WAIT_S:.0f} s; see whether one of this sweep is stopped (SIGSTOP), and end it."
                )
            time.sleep(0.005)

    @contextlib.contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[Path]:
        path = self._path(name)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
            _sync_folder(path.parent)
        except OSError as error:
            raise self._error("write", name, error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _error(self, operation: str, name: str, error: OSError) -> StoreError:
        fix = _FIXES.get(error.errno or 0, f"{error.strerror or error}")
        return StoreError(f"store {self.uri}: cannot {operation} {name}: {fix}.")


class _CannotCreateError(Exception):
    """The file system has no atomic way to write a file unless it is there."""


class _CannotLockError(Exception):
    """The file system has no file locks."""


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _lock_of(path: Path) -> Path:
    """The file that is locked while an object is replaced."""
    return path.with_name(f".{path.name}.lock")


def _is_lock(file_name: str) -> bool:
    return file_name.startswith(".") and file_name.endswith(".lock")


def _try_lock(descriptor: int) -> bool:
    """Lock an open file; whether no other process has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise _CannotLockError from error
        raise
    return True


def _is_file_of(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _move_once(temporary: Path, path: Path) -> None:
    """Give a whole file its name, or raise `FileExistsError`; one of many that try at once wins."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_once(temporary, path)


def _rename_once(temporary: Path, path: Path) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise _CannotCreateError
    if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        if code in _NO_RENAME:
            raise _CannotCreateError
        raise OSError(code, os.strerror(code), str(path))


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
