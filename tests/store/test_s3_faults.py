"""A bucket that fails: what passes is waited out, a refusal is said at once, and no message holds a secret."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from s3_servers import BUCKET, MotoServer, SeaweedServer
from scripted_server import CLOSED, OK, Answer, Asked, scripted_server

from grok_sweeps.errors import PassingFaultWarning, StoreError
from grok_sweeps.store import open_objects
from grok_sweeps.store.probe import probe_conditional_writes
from grok_sweeps.store.retries import Retries
from grok_sweeps.store.s3 import S3Objects
from grok_sweeps.store.s3_address import parse_s3_uri

SECRET = "wJalrXUtnFEMI"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_CONFIG_FILE": os.devnull}
    environment |= {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@contextmanager
def scripted_s3(answer: Callable[[int, Asked], Answer]) -> Iterator[tuple[str, Asked]]:
    """A store's URI on a scripted server, and what it was asked."""
    with scripted_server(answer) as (host, asked):
        yield f"s3://bucket/p?endpoint_override={host}&scheme=http", asked


class Waits:
    """A clock that a wait moves on, and nothing else."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.count += 1

    def store(self, uri: str, give_up_after_s: float = 60.0) -> S3Objects:
        retries = Retries(give_up_after_s, sleep=self.sleep, clock=lambda: self.now)
        return S3Objects(parse_s3_uri(uri), retries)


@pytest.mark.parametrize(
    "fault",
    [
        Answer(500, "InternalError"),
        Answer(503, "SlowDown"),
        Answer(503),
        Answer(429, "TooManyRequests"),
        Answer(400, "RequestTimeout"),
        Answer(409, "OperationAborted"),
        Answer(CLOSED),
    ],
    ids=lambda fault: f"{fault.status}{fault.code}",
)
def test_a_passing_fault_is_waited_out(fault: Answer) -> None:
    waits = Waits()
    with scripted_s3(lambda k, _: OK if k % 4 == 3 else fault) as (uri, asked):
        objects = waits.store(uri)
        done = [
            objects.put("s/x", b"1"),  # type: ignore[func-returns-value]
            objects.get("s/x"),
            objects.create("s/x", b"1"),
            objects.delete("s/x"),  # type: ignore[func-returns-value]
        ]
    assert done == [None, b"", True, None]
    assert len(asked.requests) == 16
    assert waits.count == 12


@pytest.mark.parametrize(
    ("refusal", "fix"),
    [
        (Answer(403, "AccessDenied"), "access is denied; the credentials need s3:ListBucket"),
        (Answer(403, "InvalidAccessKeyId"), "check AWS_ACCESS_KEY_ID"),
        (Answer(403, "SignatureDoesNotMatch"), "check AWS_SECRET_ACCESS_KEY"),
        (Answer(400, "ExpiredToken"), "log in again"),
        (Answer(404, "NoSuchBucket"), "there is no such bucket; create it or correct the URI"),
        (Answer(403, "RequestTimeTooSkewed"), "this machine's clock"),
        (Answer(400, "AuthorizationHeaderMalformed"), "another region"),
        (Answer(400, "InvalidArgument"), "the server refuses it (InvalidArgument, HTTP 400)"),
    ],
    ids=lambda value: value.code if isinstance(value, Answer) else "",
)
def test_a_refusal_is_said_at_once_with_store_object_and_fix(refusal: Answer, fix: str) -> None:
    waits = Waits()
    with scripted_s3(lambda _, __: refusal) as (uri, asked):
        objects = waits.store(uri)
        operations: dict[str, Callable[[], object]] = {
            "write": lambda: objects.put("s/x", b"1"),
            "read": lambda: objects.get("s/x"),
            "create": lambda: objects.create("s/x", b"1"),
            "delete": lambda: objects.delete("s/x"),
            "list": lambda: list(objects.list("s/x")),
        }
        for operation, refused in operations.items():
            with pytest.raises(StoreError) as caught:
                refused()
            message = str(caught.value)
            assert message.startswith(f"store {objects.uri}: cannot {operation} s/x: ")
            assert fix in message
            assert "\n" not in message
            assert SECRET not in message
            assert "AKIDEXAMPLE" not in message
    assert (len(asked.requests), waits.count) == (5, 0)


def test_a_server_that_is_not_there_is_given_up_within_the_bound_and_said_once() -> None:
    waits = Waits()
    with scripted_s3(lambda _, __: OK) as (uri, _):
        pass
    objects = waits.store(uri, give_up_after_s=30.0)
    with (
        pytest.raises(StoreError, match=r"cannot read s/x: the server is not reached; check that the endpoint"),
        pytest.warns(PassingFaultWarning, match=r"cannot read s/x: the server is not reached.*up to 30 s") as said,
    ):
        objects.get("s/x")
    assert len(said) == 1
    assert waits.now <= 30.0


def test_a_create_whose_answer_was_lost_knows_its_own_object() -> None:
    writer = ""

    def answer(k: int, asked: Asked) -> Answer:
        nonlocal writer
        if k == 0:
            writer = asked.headers["x-amz-meta-grok-sweeps-writer"]
            return Answer(CLOSED)
        return (
            Answer(412, "PreconditionFailed")
            if k == 1
            else Answer(200, headers={"x-amz-meta-grok-sweeps-writer": writer})
        )

    with scripted_s3(answer) as (uri, asked):
        assert Waits().store(uri).create("s/spec.yaml", b"1") is True
    assert [request.split()[0] for request in asked.requests] == ["PUT", "PUT", "HEAD"]


def test_a_create_after_anothers_loses_also_when_its_first_answer_was_lost() -> None:
    answers = (Answer(CLOSED), Answer(412, "PreconditionFailed"), OK)
    with scripted_s3(lambda k, _: answers[k]) as (uri, _):
        assert Waits().store(uri).create("s/spec.yaml", b"1") is False


@pytest.mark.parametrize("refusal", [Answer(412, "PreconditionFailed"), Answer(404, "NoSuchKey")], ids=["412", "404"])
def test_a_replacement_whose_answer_was_lost_knows_its_own_object(refusal: Answer) -> None:
    writer = ""

    def answer(k: int, asked: Asked) -> Answer:
        nonlocal writer
        if k == 0:
            writer = asked.headers["x-amz-meta-grok-sweeps-writer"]
            assert asked.headers["if-match"] == '"1"'
            return Answer(CLOSED)
        return refusal if k == 1 else Answer(200, headers={"x-amz-meta-grok-sweeps-writer": writer, "ETag": '"2"'})

    with scripted_s3(answer) as (uri, asked):
        assert Waits().store(uri).replace("s/lease.json", b"2", '"1"') == '"2"'
    assert [request.split()[0] for request in asked.requests] == ["PUT", "PUT", "HEAD"]


@pytest.mark.parametrize("found", [OK, Answer(404, "NoSuchKey")], ids=["another's", "none"])
def test_a_replacement_after_anothers_loses_also_when_its_first_answer_was_lost(found: Answer) -> None:
    answers = (Answer(CLOSED), Answer(412, "PreconditionFailed"), found)
    with scripted_s3(lambda k, _: answers[k]) as (uri, _):
        assert Waits().store(uri).replace("s/lease.json", b"2", '"1"') is None


@pytest.mark.parametrize("missing", [Answer(412, "PreconditionFailed"), Answer(404, "NoSuchKey")], ids=["412", "404"])
def test_a_replacement_of_what_is_gone_has_lost_at_once(missing: Answer) -> None:
    with scripted_s3(lambda _, __: missing) as (uri, asked):
        assert Waits().store(uri).replace("s/lease.json", b"2", '"1"') is None
    assert len(asked.requests) == 1


def test_replacements_that_meet_are_tried_again() -> None:
    answers = (Answer(409, "ConditionalRequestConflict"), Answer(409, "ConditionalRequestConflict"), OK)
    waits = Waits()
    with scripted_s3(lambda k, _: answers[k]) as (uri, _):
        assert waits.store(uri).replace("s/lease.json", b"2", '"0"') == '"1"'
    assert waits.count == 2


@pytest.mark.parametrize(
    ("ignored", "words"),
    [("if-none-match", "is overwritten by a write that is to create one"), ("if-match", "replaced all the same")],
)
def test_a_server_that_ignores_a_condition_is_found(ignored: str, words: str) -> None:
    held: dict[str, bytes] = {}

    def answer(_: int, asked: Asked) -> Answer:
        method = asked.requests[-1].split()[0]
        etag = f'"{hashlib.md5(held.get("x", b""), usedforsecurity=False).hexdigest()}"'
        if method == "PUT":
            if "if-none-match" in asked.headers and held and ignored != "if-none-match":
                return Answer(412, "PreconditionFailed")
            if asked.headers.get("if-match", etag) != etag and ignored != "if-match":
                return Answer(412, "PreconditionFailed")
            held["x"] = asked.body
            return Answer(200, headers={"ETag": f'"{hashlib.md5(asked.body, usedforsecurity=False).hexdigest()}"'})
        if method == "DELETE":
            held.clear()
            return Answer(204)
        return Answer(200, headers={"ETag": etag}, body=held["x"])

    with scripted_s3(answer) as (uri, _):
        assert words in (probe_conditional_writes(Waits().store(uri), "s") or "")
    assert not held


def test_a_server_that_knows_no_conditions_is_found() -> None:
    with scripted_s3(lambda _, asked: OK if asked.requests[-1].startswith("DELETE") else Answer(501)) as (uri, _):
        assert "does not know this operation" in (probe_conditional_writes(Waits().store(uri), "s") or "")


UPLOADS = b"""<ListMultipartUploadsResult><Upload><Key>p/s/x</Key><UploadId>u</UploadId>
<Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>"""


def test_an_upload_that_ends_while_it_is_looked_at_is_no_leftover() -> None:
    answers = (Answer(200, body=UPLOADS), Answer(404, "NoSuchUpload"))
    with scripted_s3(lambda k, _: answers[k]) as (uri, _):
        assert list(Waits().store(uri).leftovers("s")) == []


def test_an_upload_that_ends_before_it_is_discarded_is_no_error() -> None:
    answers = (Answer(200, body=UPLOADS), Answer(200, body=b"<ListPartsResult/>"), Answer(404, "NoSuchUpload"))
    with scripted_s3(lambda k, _: answers[k]) as (uri, asked):
        (left,) = Waits().store(uri).leftovers("s")
        left.discard()
    assert asked.requests[2].startswith("DELETE")


def test_a_server_that_ignores_ranges_sends_the_whole_object() -> None:
    data = bytes(range(256)) * 1024
    with scripted_s3(lambda _, __: Answer(200, headers={"ETag": '"1"'}, body=data)) as (uri, asked):
        file = Waits().store(uri).open("s/x")
        assert file is not None
        file.seek(-3, 2)
        assert file.read() == data[-3:]
    assert len(asked.requests) == 1


def test_a_part_that_fails_leaves_no_object_and_no_upload(seaweed_uri: str) -> None:
    objects = S3Objects(parse_s3_uri(seaweed_uri), Retries(give_up_after_s=0.0))

    def fail_the_second(params: dict[str, Any], **_: object) -> None:
        if "partNumber=2" in params["url"] or str(params["query_string"].get("partNumber")) == "2":
            raise ConnectionResetError

    objects._client.meta.events.register("before-call.s3.UploadPart", fail_the_second)
    with pytest.raises(StoreError, match="cannot write s/big: the connection broke off"):
        objects.put("s/big", b"x" * (20 << 20))
    assert objects.get("s/big") is None
    assert list(objects.leftovers("s")) == []


class TestARealServer:
    def test_that_is_paused_for_a_while_loses_nothing(self, seaweedfs: SeaweedServer, seaweed_uri: str) -> None:
        objects = open_objects(seaweed_uri)
        objects.put("s/a", b"before")
        seaweedfs.pause()
        thread = threading.Thread(target=objects.put, args=("s/a", b"after"))
        try:
            thread.start()
            thread.join(1.0)
            assert thread.is_alive(), "it waits"
        finally:
            seaweedfs.go_on()
        thread.join(60)
        assert objects.get("s/a") == b"after"

    def test_that_is_killed_and_started_again_keeps_what_was_written_and_is_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seaweedfs: SeaweedServer
    ) -> None:
        server = SeaweedServer(tmp_path)
        server.start()
        try:
            for name, value in server.credentials.environment().items():
                monkeypatch.setenv(name, value)
            objects = open_objects(server.uri("p"))
            for k in range(20):
                objects.put(f"s/{k:02d}", b"%d" % k)
            server.kill()
            back = threading.Timer(3.0, server.start)
            back.start()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PassingFaultWarning)
                objects.put("s/20", b"20")
            back.join()
            assert [objects.get(f"s/{k:02d}") for k in range(21)] == [b"%d" % k for k in range(21)]
        finally:
            server.stop()

    @pytest.mark.parametrize("secret", [SECRET, "seaweed-secret"])
    def test_that_does_not_know_the_key_refuses_it(self, secret: str, seaweedfs: SeaweedServer) -> None:
        objects = open_objects(seaweedfs.uri("p"))
        with pytest.raises(StoreError, match="cannot write s/x: the access key is not known there") as caught:
            objects.put("s/x", b"1")
        assert secret not in str(caught.value)

    def test_that_gets_a_wrong_secret_refuses_it(
        self, moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_server.credentials.access_key)
        with pytest.raises(StoreError, match=r"cannot read s/x: the secret key is wrong; check AWS_SECRET_ACCESS_KEY"):
            open_objects(moto_server.uri("p")).get("s/x")

    def test_without_credentials_is_one_line_that_says_where_they_come_from(
        self, seaweedfs: SeaweedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StoreError, match=r"no valid credentials were found; set AWS_ACCESS_KEY_ID"):
            open_objects(seaweedfs.uri("p")).get("s/x")

    def test_without_the_bucket_refuses_every_operation(self, seaweed_uri: str) -> None:
        objects = open_objects(seaweed_uri.replace(f"s3://{BUCKET}/", "s3://no-such-bucket/"))
        for operation in (
            lambda: objects.put("s/x", b"1"),
            lambda: objects.get("s/x"),
            lambda: objects.create("s/x", b"1"),
            lambda: list(objects.list("s")),
            lambda: list(objects.folders()),
        ):
            with pytest.raises(StoreError, match="there is no such bucket"):
                operation()

    def test_is_found_through_the_environment_where_the_uri_names_none(
        self, seaweedfs: SeaweedServer, seaweed_uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://localhost:{seaweedfs.port}")
        short = open_objects(seaweed_uri.partition("?")[0])
        short.put("s/x", b"1")
        assert open_objects(seaweed_uri).get("s/x") == b"1"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
        assert open_objects(seaweed_uri).get("s/x") == b"1", "the URI wins over the environment"


def test_a_store_in_a_directory_does_without_boto3(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["boto3"] = sys.modules["botocore"] = None
import grok_sweeps.train.pack, cluster.trial, grok_sweeps.results
from grok_sweeps.store import open_objects
open_objects({str(tmp_path)!r}).put("s/x", b"1")
try:
    open_objects("s3://bucket/p")
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "store s3://bucket/p: needs boto3; pip install boto3.\n"
