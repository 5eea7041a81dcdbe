"""A directory as the store: what its URI may be, and file systems without hard links."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grok_sweeps.errors import StoreError
from grok_sweeps.store import local as local_module
from grok_sweeps.store import open_objects


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
