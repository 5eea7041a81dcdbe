"""The contract that every backend keeps (`grok_sweeps.store.objects`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest
from backends import BACKENDS

from grok_sweeps.errors import StoreError
from grok_sweeps.store import ObjectStore, open_objects


def _names(objects: ObjectStore, prefix: str) -> list[str]:
    return [info.name for info in objects.list(prefix)]


class TestEveryBackend:
    def test_an_object_comes_back_as_it_was_put(self, objects: ObjectStore) -> None:
        data = bytes(range(256)) * 100
        objects.put("s/rows/a.parquet", data)
        assert objects.get("s/rows/a.parquet") == data

    def test_a_missing_object_is_none_and_its_deletion_no_error(self, objects: ObjectStore) -> None:
        assert objects.get("s/none") is None
        assert objects.open("s/none") is None
        objects.delete("s/none")

    def test_nothing_is_written_by_looking(self, tmp_path: Path) -> None:
        for make in BACKENDS.values():
            objects = make(tmp_path)
            assert list(objects.folders()) == []
            assert _names(objects, "s") == []
        assert list(tmp_path.iterdir()) == []

    def test_a_later_put_replaces_the_object(self, objects: ObjectStore) -> None:
        objects.put("s/status.json", b"a long first version")
        objects.put("s/status.json", b"second")
        assert objects.get("s/status.json") == b"second"

    def test_an_empty_object_is_an_object(self, objects: ObjectStore) -> None:
        objects.put("s/empty", b"")
        assert objects.get("s/empty") == b""
        assert [(i.name, i.size) for i in objects.list("s")] == [("s/empty", 0)]

    def test_create_writes_only_where_nothing_is(self, objects: ObjectStore) -> None:
        assert objects.create("s/spec.yaml", b"first") is True
        assert objects.create("s/spec.yaml", b"second") is False
        assert objects.get("s/spec.yaml") == b"first"

    def test_create_has_exactly_one_winner_among_eight(self, objects: ObjectStore) -> None:
        barrier = Barrier(8)

        def attempt(k: int) -> bool:
            barrier.wait()
            return objects.create("s/calibration.json", b"%d" % k * 10_000)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(attempt, range(8)))
        assert sum(won) == 1
        assert objects.get("s/calibration.json") == b"%d" % won.index(True) * 10_000
        assert _names(objects, "s") == ["s/calibration.json"]

    def test_readers_see_a_whole_object_while_writers_replace_it(self, objects: ObjectStore) -> None:
        objects.put("s/status.json", b"0" * 100_000)

        def write(k: int) -> None:
            for _ in range(20):
                objects.put("s/status.json", b"%d" % k * 100_000)

        with ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(write, k) for k in (1, 2)]
            while not all(w.done() for w in writers):
                data = objects.get("s/status.json")
                assert data is not None
                assert (len(data), len(set(data))) == (100_000, 1)
            for writer in writers:
                writer.result()

    def test_an_open_object_is_read_at_any_offset(self, objects: ObjectStore) -> None:
        objects.put("s/x", b"0123456789")
        file = objects.open("s/x")
        assert file is not None
        with file:
            file.seek(4)
            assert file.read(3) == b"456"

    def test_a_listing_is_recursive_sorted_and_of_its_prefix_alone(self, objects: ObjectStore) -> None:
        for name in ("s/checkpoints/b/2", "s/checkpoints/a/1", "s/checkpoints/b/1", "s/rows/1", "s2/checkpoints/c/1"):
            objects.put(name, b"1234")
        assert [(i.name, i.size) for i in objects.list("s/checkpoints")] == [
            ("s/checkpoints/a/1", 4),
            ("s/checkpoints/b/1", 4),
            ("s/checkpoints/b/2", 4),
        ]
        assert list(objects.folders()) == ["s", "s2"]
        assert all(info.modified > 0 for info in objects.list("s"))

    def test_a_deleted_object_is_gone(self, objects: ObjectStore) -> None:
        objects.put("s/x", b"1")
        objects.delete("s/x")
        assert objects.get("s/x") is None
        assert _names(objects, "s") == []


class TestALocalWriterThatDies:
    @pytest.mark.parametrize("operation", ["put", "create"])
    def test_midway_leaves_no_visible_object(
        self, operation: str, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with _killed_at_fsync(monkeypatch), pytest.raises(KeyboardInterrupt):
            getattr(objects, operation)("s/rows/a.parquet", b"new")
        assert objects.get("s/rows/a.parquet") is None
        assert _names(objects, "s") == []

    def test_midway_leaves_the_old_object_whole(self, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
        objects.put("s/status.json", b"old")
        with _killed_at_fsync(monkeypatch), pytest.raises(KeyboardInterrupt):
            objects.put("s/status.json", b"new")
        assert objects.get("s/status.json") == b"old"

    def test_without_cleaning_up_leaves_nothing_that_a_listing_shows(
        self, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with _killed_at_fsync(monkeypatch, cleans_up=False), pytest.raises(KeyboardInterrupt):
            objects.put("s/rows/a.parquet", b"new")
        assert len(list(Path(objects.glob("s/rows")).iterdir())) == 1, "the temporary file is still there"
        assert _names(objects, "s") == []


@contextmanager
def _killed_at_fsync(monkeypatch: pytest.MonkeyPatch, cleans_up: bool = True) -> Iterator[None]:
    def die(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        if not cleans_up:
            patch.setattr(Path, "unlink", lambda *_, **__: None)
        yield


@pytest.mark.parametrize("uri", ["gs://bucket/prefix", "ftp://host/x"])
def test_a_scheme_that_is_not_supported_is_refused_with_the_fix(uri: str) -> None:
    with pytest.raises(StoreError, match=r"not supported.*give a directory"):
        open_objects(uri)
