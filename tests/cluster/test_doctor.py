"""What the doctor finds, on stores that work and on ones that are wrong in ways that servers are."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from cluster_processes import cli
from scripted_server import Answer, scripted_server

from grok_sweeps.cluster.doctor import Check, Level
from grok_sweeps.cluster.doctor.jobs import check_jobs_server
from grok_sweeps.cluster.doctor.machine import gpu_check, kernels_check, version_check
from grok_sweeps.cluster.doctor.store import check_store as check_this_store
from grok_sweeps.cluster.doctor.store import clock_check, space_check
from grok_sweeps.errors import StoreError
from grok_sweeps.store import ObjectInfo, ObjectStore
from grok_sweeps.store.local import LocalObjects


def check_store(objects: ObjectStore, now: Callable[[], float] = time.time) -> dict[str, Check]:
    return {check.name: check for check in check_this_store(objects, now)}


def test_a_store_that_works_passes_and_keeps_nothing(objects: ObjectStore) -> None:
    objects.put("s/spec.yaml", b"1")
    checks = check_store(objects)
    assert {check.level for check in checks.values()} == {Level.ok}, checks
    expected = {"clock", "write and read", "large object", "partial reads", "listing", "create once", "delete"}
    expected.add("conditional writes")
    assert expected <= set(checks)
    assert [info.name for info in objects.list("")] == ["s/spec.yaml"]


def test_a_directory_that_was_not_there_is_not_there_afterwards(tmp_path: Path) -> None:
    assert check_store(LocalObjects(tmp_path / "sweeps"))["free space"].level is Level.ok
    assert list(tmp_path.iterdir()) == []


class KeepsChunkHeaders(LocalObjects):
    """Stores an upload of several parts with the frames it came in, as some S3-compatible servers do."""

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data if len(data) < 10_000_000 else b"10000;" + data)


class IgnoresConditions(LocalObjects):
    """Takes a conditional write for any write."""

    def create(self, name: str, data: bytes) -> bool:
        self.put(name, data)
        return True


class ListsLate(LocalObjects):
    """Does not show what was just written."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from list(super().list(prefix))[1:]


class KeepsDeleted(LocalObjects):
    """Takes a deletion and does nothing."""

    def delete(self, name: str) -> None:
        pass


class FromTheStart(io.BytesIO):
    """A file that cannot be read anywhere else."""

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(0)


class IgnoresRanges(LocalObjects):
    """Does not look at where a read begins."""

    def open(self, name: str) -> BinaryIO:
        return FromTheStart(self.get(name) or b"")


@pytest.mark.parametrize(
    ("kind", "name", "fix"),
    [
        (KeepsChunkHeaders, "large object", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
        (IgnoresConditions, "create once", "honours If-None-Match"),
        (IgnoresConditions, "conditional writes", "honours If-Match"),
        (IgnoresRanges, "partial reads", "honours Range"),
        (ListsLate, "listing", "shows at once what was written"),
        (KeepsDeleted, "delete", "shows at once what was written"),
    ],
)
def test_a_store_that_is_wrong_fails_with_the_fix(
    kind: type[LocalObjects], name: str, fix: str, tmp_path: Path
) -> None:
    checks = check_store(kind(tmp_path))
    assert checks[name].level is Level.failure
    assert fix in checks[name].fix


def test_a_store_that_cannot_be_written_fails_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checks = check_store(LocalObjects(tmp_path / "file"))
    assert checks["store"].level is Level.failure
    assert "a file stands where a directory is needed" in checks["store"].text
    assert "create once" not in checks


def test_a_store_that_fails_midway_is_cleaned_up_as_far_as_it_can_be(tmp_path: Path) -> None:
    class Fails(LocalObjects):
        def create(self, name: str, data: bytes) -> bool:
            raise StoreError("store x: cannot create y: no.")

    assert check_store(Fails(tmp_path / "s"))["store"].text == "x: cannot create y: no."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ahead_s", "level", "text"),
    [
        (0.0, Level.ok, "within 5 s"),
        (60.0, Level.warning, "59 s ahead of"),
        (-60.0, Level.warning, "60 s behind"),
        (3600.0, Level.failure, "3599 s ahead of"),
    ],
)
def test_a_clock_that_is_off_is_told_by_how_much(ahead_s: float, level: Level, text: str, tmp_path: Path) -> None:
    check = check_store(LocalObjects(tmp_path), lambda: time.time() + ahead_s)["clock"]
    assert check.level is level
    assert text in check.text


@pytest.mark.parametrize(
    ("check", "level"),
    [
        (clock_check(None), Level.warning),
        (space_check(100 << 30), Level.ok),
        (space_check(1 << 30), Level.warning),
        (space_check(1 << 20), Level.failure),
        (version_check("ray", "2.60.0"), Level.ok),
        (version_check("ray", None), Level.failure),
        (gpu_check(["NVIDIA H100"], has_driver=True), Level.ok),
        (gpu_check([], has_driver=True), Level.warning),
        (gpu_check([], has_driver=False), Level.ok),
        (kernels_check(None), Level.ok),
        (kernels_check("no C++ compiler is found"), Level.warning),
    ],
)
def test_what_is_not_well_comes_with_a_fix(check: Check, level: Level) -> None:
    assert check.level is level
    assert bool(check.fix) == (level is not Level.ok)


RAY = json.dumps({"version": "4", "ray_version": "2.60.0"}).encode()


@pytest.mark.parametrize(
    ("answer", "level", "text"),
    [
        (Answer(200, body=RAY), Level.ok, "runs Ray 2.60.0"),
        (Answer(200, body=RAY.replace(b"2.60", b"2.41")), Level.warning, "runs Ray 2.41.0, this machine has 2.60.0"),
        (Answer(401), Level.failure, "asks for a token"),
        (Answer(500), Level.failure, "answers HTTP 500"),
        (Answer(200, body=b"<html>"), Level.failure, "is no Ray dashboard"),
        (Answer(200, body=b"[]"), Level.failure, "is no Ray dashboard"),
        (Answer(302, headers={"Location": "/elsewhere"}), Level.failure, "answers HTTP 302"),
    ],
)
def test_a_jobs_server_is_asked_for_its_version(answer: Answer, level: Level, text: str) -> None:
    with scripted_server(lambda _, __: answer) as (host, asked):
        check = check_jobs_server(f"http://{host}/", "a-token", "2.60.0")
    assert check.level is level
    assert text in check.text
    assert asked.requests == ["GET /api/version"]
    assert asked.headers["authorization"] == "Bearer a-token"


def test_a_server_that_does_not_speak_http_is_no_dashboard() -> None:
    def greet(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet, args=(server,))
        thread.start()
        check = check_jobs_server(f"http://127.0.0.1:{server.getsockname()[1]}", None, "2.60.0")
        thread.join()
    assert check.level is Level.failure
    assert "\n" not in check.text


def test_a_jobs_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = check_jobs_server(f"http://127.0.0.1:{silent.getsockname()[1]}", None, "2.60.0", timeout_s=0.2)
    assert check.level is Level.failure
    assert "timed out" in check.text


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1:8265",
        "ray://host:10001",
        "file:///etc/passwd",
        "http://me:secret@host",
        "http://host:abc",
        "http://host:secret",
        "http://[x",
    ],
)
def test_what_is_no_address_of_a_jobs_server_is_put_right(address: str) -> None:
    check = check_jobs_server(address, None, "2.60.0")
    assert check.level is Level.failure
    assert check.fix == "give http://HOST:8265"
    assert "secret" not in check.text


def test_the_command_exits_0_only_without_failures(tmp_path: Path) -> None:
    well = cli("doctor", "--store", "store", cwd=tmp_path)
    assert well.returncode == 0, well.stdout + well.stderr
    assert "0 failure" in well.stdout
    (tmp_path / "file").touch()
    ill = cli("doctor", "--store", "file", "--address", "http://127.0.0.1:9", cwd=tmp_path)
    assert ill.returncode == 1
    failures = [line for line in ill.stdout.splitlines() if line.startswith("failure ")]
    assert len(failures) == 2
    assert "Ray jobs server: http://127.0.0.1:9 is not reached" in failures[1]
