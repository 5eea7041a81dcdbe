"""A server between client and store that fails on demand: it refuses, answers slowly, or breaks off after the work.

It passes requests on as they are, so their signatures hold: they are made for its own address, which stands in the
header `Host`. The last fault is the hardest one: the store has done what it was asked and the client cannot know.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UPSTREAM_TIMEOUT_S = 60.0
REFUSAL = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
_ITS_OWN = frozenset({"connection", "transfer-encoding", "keep-alive", "expect", "content-length"})


class Answer(Enum):
    """What becomes of a request."""

    PASSED_ON = "the store's own"
    REFUSED = "503 without asking the store"
    LOST = "done by the store, and the connection closed"


@dataclass(frozen=True, slots=True)
class Treatment:
    """How requests are treated: a wait in seconds, and their answer."""

    wait_s: float = 0.0
    answer: Answer = Answer.PASSED_ON


Policy = Callable[[], Treatment]


def unharmed() -> Treatment:
    """Pass everything on at once."""
    return Treatment()


def refusing(seed: int) -> Policy:
    """Refuse a share of requests, from a third to all, and lose some answers."""
    draw = random.Random(seed)
    share = draw.uniform(0.33, 1.0)

    def treat() -> Treatment:
        if draw.random() >= share:
            return Treatment()
        return Treatment(answer=Answer.LOST if draw.random() < 0.25 else Answer.REFUSED)

    return treat


def slow(seed: int) -> Policy:
    """Let every answer take up to a drawn number of seconds."""
    draw = random.Random(seed)
    longest_s = draw.uniform(0.2, 4.0)
    return lambda: Treatment(wait_s=draw.uniform(0.0, longest_s))


class FaultyProxy:
    """Listens on loopback, in threads of this process, from `start` to `stop`.

    `treat` is the policy of the moment and may be replaced at any time; `answers` counts what became of requests.
    """

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.treat: Policy = unharmed
        self.answers = dict.fromkeys(Answer, 0)
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            def treatment(self) -> Treatment:
                return proxy.treatment()

            def upstream(self) -> http.client.HTTPConnection:
                return http.client.HTTPConnection("127.0.0.1", proxy.upstream_port, timeout=UPSTREAM_TIMEOUT_S)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._server.serve_forever, name="proxy", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def treatment(self) -> Treatment:
        """How the next request is treated."""
        with self._lock:
            treatment = self.treat()
            self.answers[treatment.answer] += 1
        return treatment


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def treatment(self) -> Treatment:
        raise NotImplementedError

    def upstream(self) -> http.client.HTTPConnection:
        raise NotImplementedError

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""

    def _handle(self) -> None:
        body = self._body()
        treatment = self.treatment()
        time.sleep(treatment.wait_s)
        if treatment.answer is Answer.REFUSED:
            self._answer(503, [("Content-Type", "application/xml")], REFUSAL)
            return
        upstream = self.upstream()
        try:
            self._pass_on(upstream, body)
            response = upstream.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # as it is for a client without a proxy
            return
        finally:
            upstream.close()
        if treatment.answer is Answer.LOST:
            self.close_connection = True
            return
        headers = [(k, v) for k, v in response.getheaders() if k.lower() not in _ITS_OWN]
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        self._answer(response.status, headers, data, length)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 http.server's names

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _pass_on(self, upstream: http.client.HTTPConnection, body: bytes) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _ITS_OWN:
                upstream.putheader(name, value)
        if body or "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body or None)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: str | None = None) -> None:
        try:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if status not in (204, 304):
                self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except OSError:  # the client has gone
            self.close_connection = True
