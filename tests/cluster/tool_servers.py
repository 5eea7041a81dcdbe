"""What stands at the other end of a hook: a receiver of webhooks, MLflow's own server, and a reader of W&B's files."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cluster_processes import WAIT_S, wait_until
from s3_servers import free_ports

BLOCK = 1 << 15
FULL, LAST = 1, 4


@dataclass
class Received:
    """What came to a webhook, and how it answers: with the next of `statuses`, or not before `hold` is set."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    hold: threading.Event | None = None

    def events(self) -> list[str]:
        return [body["event"] for body in self.bodies]


@contextmanager
def webhook_server() -> Iterator[Received]:
    """A receiver of webhooks that is up."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            received.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if received.hold is not None:
                received.hold.wait(WAIT_S)
                return
            self.send_response(received.statuses.pop(0) if received.statuses else 200)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_port}/services/T-SECRET/B"
    try:
        yield received
    finally:
        if received.hold is not None:
            received.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


class MlflowServer:
    """MLflow's own tracking server on a database in `folder`; asked over its REST API."""

    def __init__(self, folder: Path) -> None:
        self.port = next(free_ports(1))
        self.uri = f"http://127.0.0.1:{self.port}"
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        command = ["server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *command, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"],
                cwd=folder,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "MLflow's server answers")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(WAIT_S)

    def ask(self, call: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """A call of the REST API: GET, or POST of `content`."""
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{call}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return dict(json.load(answer))

    def experiment(self, name: str) -> str:
        return str(self.ask(f"experiments/get-by-name?experiment_name={name}")["experiment"]["experiment_id"])

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """The runs of an experiment that are not deleted."""
        asked = {"experiment_ids": [self.experiment(experiment)], "max_results": 1000}
        return list(self.ask("runs/search", asked).get("runs", []))

    def history(self, run: dict[str, Any], metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric."""
        asked = f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={metric}&max_results=25000"
        return [(int(m["step"]), float(m["value"])) for m in self.ask(asked).get("metrics", [])]

    def _answers(self) -> bool:
        assert self._process.poll() is None, "MLflow's server has ended"
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=WAIT_S):
                return True
        except urllib.error.URLError:
            return False


def by_key(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """MLflow's lists of key and value."""
    return {pair["key"]: pair["value"] for pair in pairs}


@dataclass
class WandbRun:
    """What W&B has kept of a run."""

    run_id: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_wandb(path: Path) -> WandbRun:
    """Read a `.wandb` file: LevelDB's log format (doc/log_format.md there) of protocol buffers, after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    run = WandbRun()
    for data in _log_records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.run_id, run.project = record.run.run_id, record.run.project
            run.config.update({item.key: json.loads(item.value_json) for item in record.run.config.update})
        elif kind == "history":
            run.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
        elif kind == "summary":
            run.summary.update({_key(item): json.loads(item.value_json) for item in record.summary.update})
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _log_records(data: bytes) -> Iterator[bytes]:
    at, parts = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # what is left of a block holds no header
            at += BLOCK - at % BLOCK
            continue
        _crc, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
