"""The contract that every backend keeps (`grok_sweeps.store.objects`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Barrier

import pytest
from s3_servers import BUCKET, SeaweedServer

from grok_sweeps.errors import ObjectGoneError, StoreError
from grok_sweeps.store import ObjectStore, open_objects
from grok_sweeps.store.objects import READ_AHEAD, for_each
from grok_sweeps.store.probe import probe_conditional_writes

MANY_PARTS = bytes(range(251)) * 80_000
"""20 MB that no part boundary divides evenly."""


def _names(objects: ObjectStore, prefix: str) -> list[str]:
    return [info.name for info in objects.list(prefix)]


class TestEveryBackend:
    def test_an_object_comes_back_as_it_was_put(self, objects: ObjectStore) -> None:
        data = bytes(range(256)) * 100
        objects.put("s/rows/a.parquet", data)
        assert objects.get("s/rows/a.parquet") == data

    def test_an_object_of_many_parts_comes_back_as_it_was_put(self, objects: ObjectStore) -> None:
        objects.put("s/checkpoints/big", MANY_PARTS)
        assert objects.get("s/checkpoints/big") == MANY_PARTS
        assert [info.size for info in objects.list("s")] == [len(MANY_PARTS)]
        assert list(objects.leftovers("")) == []

    def test_its_uri_opens_the_same_store_again(self, objects: ObjectStore) -> None:
        objects.put("s/x", b"1")
        again = open_objects(objects.uri)
        assert again.uri == objects.uri
        assert again.get("s/x") == b"1"
        assert again.address("s/x").endswith("/s/x")

    @pytest.mark.parametrize("name", ["s/states/r@50.safetensors", "s/a b+c=d&e%20f#g?h", "s/ρ·τ.json", "s/'quoted'"])
    def test_a_name_may_hold_any_character(self, name: str, objects: ObjectStore) -> None:
        objects.put(name, b"1")
        assert objects.get(name) == b"1"
        assert _names(objects, "s") == [name]
        objects.delete(name)
        assert _names(objects, "s") == []

    def test_a_missing_object_is_none_and_its_deletion_no_error(self, objects: ObjectStore) -> None:
        assert objects.get("s/none") is None
        assert objects.open("s/none") is None
        objects.delete("s/none")

    def test_nothing_is_written_by_looking(self, objects: ObjectStore, tmp_path: Path) -> None:
        assert list(objects.folders()) == []
        assert _names(objects, "s") == []
        assert _names(objects, "") == []
        assert list(objects.leftovers("s")) == []
        assert list(tmp_path.iterdir()) == []

    def test_a_later_put_replaces_the_object(self, objects: ObjectStore) -> None:
        objects.put("s/status.json", b"a long first version")
        objects.put("s/status.json", b"second")
        assert objects.get("s/status.json") == b"second"

    def test_an_empty_object_is_an_object(self, objects: ObjectStore) -> None:
        objects.put("s/empty", b"")
        assert objects.get("s/empty") == b""
        assert [(i.name, i.size) for i in objects.list("s")] == [("s/empty", 0)]
        file = objects.open("s/empty")
        assert file is not None
        with file:
            assert file.read() == b""

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

    def test_replace_writes_only_over_the_object_of_that_etag(self, objects: ObjectStore) -> None:
        assert objects.get_with_etag("s/lease.json") is None
        assert objects.replace("s/lease.json", b"none is there", '"0123456789abcdef0123456789abcdef"') is None
        assert objects.create("s/lease.json", b"first")
        first = objects.get_with_etag("s/lease.json")
        assert first is not None
        assert first[0] == b"first"
        second = objects.replace("s/lease.json", b"second", first[1])
        assert objects.get_with_etag("s/lease.json") == (b"second", second)
        assert objects.replace("s/lease.json", b"late", first[1]) is None
        assert objects.get_with_etag("s/lease.json") == (b"second", second)
        assert _names(objects, "s") == ["s/lease.json"]
        assert list(objects.leftovers("s")) == []

    def test_replace_of_one_etag_has_exactly_one_winner_among_eight(self, objects: ObjectStore) -> None:
        objects.create("s/lease.json", b"first")
        for turn in range(3):
            found = objects.get_with_etag("s/lease.json")
            assert found is not None
            barrier, etag = Barrier(8), found[1]
            data = [b"%d %d" % (turn, k) * 1_000 for k in range(8)]

            def attempt(k: int, barrier: Barrier = barrier, etag: str = etag, data: list[bytes] = data) -> str | None:
                barrier.wait()
                return objects.replace("s/lease.json", data[k], etag)

            with ThreadPoolExecutor(8) as pool:
                etags = list(pool.map(attempt, range(8)))
            (won,) = (k for k in range(8) if etags[k] is not None)
            assert objects.get_with_etag("s/lease.json") == (data[won], etags[won])

    def test_a_replaced_object_is_deleted_whole_and_can_be_created_again(
        self, objects: ObjectStore, tmp_path: Path
    ) -> None:
        for data in (b"1", b"2"):
            assert objects.create("s/lease.json", data)
            found = objects.get_with_etag("s/lease.json")
            assert found is not None
            assert objects.replace("s/lease.json", data * 2, found[1])
            objects.delete("s/lease.json")
            assert objects.replace("s/lease.json", b"late", found[1]) is None
            objects.delete("s/lease.json")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_conditional_writes_work_and_trying_them_leaves_nothing(self, objects: ObjectStore) -> None:
        assert probe_conditional_writes(objects, "s") is None
        assert _names(objects, "") == []

    def test_readers_see_a_whole_object_while_writers_replace_it(self, objects: ObjectStore) -> None:
        versions = [b"0" * 100_000, b"1" * 10, b"2" * 50_000]
        objects.put("s/status.json", versions[0])

        def write(k: int) -> None:
            for n in range(20):
                objects.put("s/status.json", versions[(n + k) % 3])

        with ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(write, k) for k in (1, 2)]
            while not all(w.done() for w in writers):
                assert objects.get("s/status.json") in versions
            for writer in writers:
                writer.result()

    def test_an_open_object_is_read_at_any_offset(self, objects: ObjectStore) -> None:
        objects.put("s/x", MANY_PARTS)
        file = objects.open("s/x")
        assert file is not None
        with file:
            for start, n in ((4, 3), (100_000, 100_000), (3_000_000, 9_000_000), (len(MANY_PARTS) - 5, 50), (0, 10)):
                assert file.seek(start) == start
                assert file.read(n) == MANY_PARTS[start : start + n]
                assert file.tell() == min(start + n, len(MANY_PARTS))
            assert file.seek(0, os.SEEK_END) == len(MANY_PARTS)
            assert file.read(1) == b""

    @pytest.mark.parametrize("change", ["deleted", "replaced"])
    def test_an_open_object_that_changes_is_read_as_it_was_or_not_at_all(
        self, change: str, objects: ObjectStore
    ) -> None:
        objects.put("s/x", MANY_PARTS)
        file = objects.open("s/x")
        assert file is not None
        if change == "deleted":
            objects.delete("s/x")
        else:
            objects.put("s/x", MANY_PARTS[::-1])
        with file:
            file.seek(len(MANY_PARTS) - 1000)
            with suppress(ObjectGoneError):
                assert file.read() == MANY_PARTS[-1000:]

    def test_a_listing_is_recursive_sorted_and_of_its_prefix_alone(self, objects: ObjectStore) -> None:
        for name in ("s/checkpoints/b/2", "s/checkpoints/a/1", "s/checkpoints/b/1", "s/rows/1", "s2/checkpoints/c/1"):
            objects.put(name, b"1234")
        objects.put("s/checkpoints/b/.hidden", b"")
        assert [(i.name, i.size) for i in objects.list("s/checkpoints")] == [
            ("s/checkpoints/a/1", 4),
            ("s/checkpoints/b/1", 4),
            ("s/checkpoints/b/2", 4),
        ]
        assert list(objects.folders()) == ["s", "s2"]
        assert all(info.modified > 0 for info in objects.list("s"))

    def test_a_deleted_object_is_gone_and_leaves_nothing(self, objects: ObjectStore) -> None:
        objects.put("s/rows/x", b"1")
        objects.delete("s/rows/x")
        assert objects.get("s/rows/x") is None
        assert _names(objects, "") == []

    def test_work_on_many_names_keeps_their_order(self, objects: ObjectStore) -> None:
        names = [f"s/{k:03d}" for k in range(40)]
        for name in names:
            objects.put(name, name.encode())
        assert list(for_each(objects, objects.get, names)) == [name.encode() for name in names]

    def test_a_failure_among_many_ends_it_without_the_rest(self, objects: ObjectStore) -> None:
        begun = []

        def work(name: str) -> None:
            begun.append(name)
            if name != "s/000":
                time.sleep(0.02)  # as long as a request
            raise StoreError(f"cannot read {name}")

        with pytest.raises(StoreError, match="cannot read s/000"):
            list(for_each(objects, work, [f"s/{k:03d}" for k in range(READ_AHEAD)]))
        assert len(begun) < READ_AHEAD

    def test_the_stores_clock_is_close_to_ours(self, objects: ObjectStore) -> None:
        assert abs((objects.server_time() or 0.0) - time.time()) < 60
        assert _names(objects, "") == []


class TestALocalWriterThatDies:
    @pytest.fixture
    def objects(self, tmp_path: Path) -> ObjectStore:
        return open_objects(str(tmp_path / "store"))

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

    def test_without_cleaning_up_leaves_a_leftover_that_no_listing_shows(
        self, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with _killed_at_fsync(monkeypatch, cleans_up=False), pytest.raises(KeyboardInterrupt):
            objects.put("s/rows/a.parquet", b"new")
        assert _names(objects, "s") == []
        (leftover,) = objects.leftovers("s")
        assert (leftover.info.name.rpartition(".")[0], leftover.info.size) == ("s/rows/.a.parquet", 3)
        leftover.discard()
        assert list(objects.leftovers("s")) == []


@contextmanager
def _killed_at_fsync(monkeypatch: pytest.MonkeyPatch, cleans_up: bool = True) -> Iterator[None]:
    def die(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        if not cleans_up:
            patch.setattr(Path, "unlink", lambda *_, **__: None)
        yield


class TestABucketWriterThatDies:
    def test_between_two_parts_leaves_a_leftover_that_no_listing_shows(
        self, seaweedfs: SeaweedServer, seaweed_uri: str
    ) -> None:
        objects = open_objects(seaweed_uri)
        objects.put("s/checkpoints/older", b"1")
        at = {"Bucket": BUCKET, "Key": objects.address("s/checkpoints/new").removeprefix(f"s3://{BUCKET}/")}
        client = seaweedfs.client()
        upload = {**at, "UploadId": client.create_multipart_upload(**at)["UploadId"]}
        client.upload_part(**upload, PartNumber=1, Body=b"x" * (5 << 20))
        assert objects.get("s/checkpoints/new") is None
        assert _names(objects, "s") == ["s/checkpoints/older"]
        (leftover,) = objects.leftovers("s")
        assert (leftover.info.name, leftover.info.size) == ("s/checkpoints/new", 5 << 20)
        leftover.discard()
        leftover.discard()
        assert list(objects.leftovers("s")) == []

    def test_a_listing_of_more_than_a_page_is_whole(self, seaweed_uri: str) -> None:
        objects = open_objects(seaweed_uri)
        names = [f"s/rows/{k:04d}" for k in range(1005)]
        assert len(list(for_each(objects, lambda name: objects.put(name, b""), names))) == len(names)
        assert _names(objects, "s/rows") == names


@pytest.mark.parametrize("uri", ["gs://bucket/prefix", "ftp://host/x"])
def test_a_scheme_that_is_not_supported_is_refused_with_the_fix(uri: str) -> None:
    with pytest.raises(StoreError, match=r"not supported; give a directory, file:///path or s3://bucket/prefix"):
        open_objects(uri)
