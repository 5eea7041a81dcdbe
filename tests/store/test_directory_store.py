"""A directory as the store: what its URI may be, and file systems without hard links."""

from __future__ import annotations

import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grok_sweeps.errors import StoreError
from grok_sweeps.store import local as local_module
from grok_sweeps.store import open_objects
from grok_sweeps.store.local import LocalObjects
from grok_sweeps.store.probe import probe_conditional_writes


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("file://./relative", r"names no host.*file:///path.*\./relative"),
        ("file://server/x", r"names no host, 'server'"),
        ("file://~/x", r"names no host"),
        ("file:///x/a#b", "written %23"),
        ("file:///x/a#", "written %23"),
        ("file:///x/a?b=c", "written %3F"),
        ("file:///x/a?", "written %3F"),
        ("file://", "names no directory"),
        ("file:///x%00y", "names no directory"),
        ("file:///x/a\nb", "control character"),
        ("s3://bucket/p#", "written %23"),
        ("s3://bucket/p?region=a&region=b", "'region' stands there twice"),
        ("s3://bucket/p?region=", "'region' has no value"),
        ("s3://bucket/p?region", "'region' has no value"),
        ("s3://bucket/a\tb", "control character"),
        ("s3://bucket/%FF", "percent-encoded"),
    ],
)
def test_what_would_be_dropped_from_a_uri_is_refused_in_one_line(uri: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        open_objects(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "directory"),
    [
        ("file:///x/a%20b", "/x/a b"),
        ("file:///x/a%23b%3Fc", "/x/a#b?c"),
        ("file:///x/%C3%A9", "/x/é"),
        ("file:///x/%FF", os.fsdecode(b"/x/\xff")),
        ("file:///x/100%", "/x/100%"),
        ("file://localhost/x", "/x"),
        ("/x/a#b?c%20d", "/x/a#b?c%20d"),
    ],
)
def test_a_file_uri_is_percent_decoded_and_a_path_is_taken_as_it_is(uri: str, directory: str) -> None:
    assert open_objects(uri).uri == directory


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS])
def test_without_hard_links_a_file_is_created_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_link)
    objects = open_objects(str(tmp_path))
    written = [bytes([k]) * 100_000 for k in range(16)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda data: objects.create("folder/name", data), written))
    assert won.count(True) == 1
    assert objects.get("folder/name") == written[won.index(True)]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["name"], "no temporary file is left"


def test_with_no_atomic_way_to_create_the_file_system_is_named_not_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "no")

    class NoLibrary:
        def __init__(self, *_: object, **__: object) -> None:
            pass

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(local_module.ctypes, "CDLL", NoLibrary)
    objects = open_objects(str(tmp_path))
    with pytest.raises(StoreError, match=r"neither hard links.*--store") as caught:
        objects.create("name", b"x")
    assert "permission" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_found_and_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    objects = open_objects(str(tmp_path))
    assert "the file system has no file locks" in (probe_conditional_writes(objects, "s") or "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_object_that_another_process_holds_locked_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = open_objects(str(tmp_path))
    objects.create("s/lease.json", b"1")
    found = objects.get_with_etag("s/lease.json")
    assert found is not None
    with (tmp_path / "s" / ".lease.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(local_module, "LOCK_WAIT_S", 0.02)
        with pytest.raises(StoreError, match=r"cannot change s/lease\.json: another process has held .*\.lock locked"):
            objects.replace("s/lease.json", b"2", found[1])
        monkeypatch.setattr(local_module, "LOCK_WAIT_S", 60.0)
        with ThreadPoolExecutor(1) as pool:
            later = pool.submit(objects.replace, "s/lease.json", b"2", found[1])
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert later.result(60) is not None
    assert objects.get("s/lease.json") == b"2"


def test_the_lock_of_an_object_is_no_leftover(tmp_path: Path) -> None:
    objects = open_objects(str(tmp_path))
    objects.create("s/lease.json", b"1")
    found = objects.get_with_etag("s/lease.json")
    assert found is not None
    assert objects.replace("s/lease.json", b"2", found[1])
    assert (tmp_path / "s" / ".lease.json.lock").exists()
    assert list(objects.leftovers("")) == []


class Ignores(LocalObjects):
    """Ignores the condition of a replacement."""

    def replace(self, name: str, data: bytes, etag: str) -> str | None:
        self.put(name, data)
        return (self.get_with_etag(name) or (b"", ""))[1]


def test_a_store_that_ignores_the_etag_is_found(tmp_path: Path) -> None:
    assert "is replaced all the same" in (probe_conditional_writes(Ignores(tmp_path), "s") or "")
