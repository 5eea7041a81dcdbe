"""An HTTP server that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CLOSED = 0
"""In place of a status: take the request and close the connection."""


@dataclass(frozen=True)
class Answer:
    """A status, and for a refusal of S3 its code."""

    status: int
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


OK = Answer(200, headers={"ETag": '"1"'})


@dataclass
class Asked:
    """What came: method and path of each request; headers, in lower case, and body of the last."""

    requests: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@contextmanager
def scripted_server(answer: Callable[[int, Asked], Answer]) -> Iterator[tuple[str, Asked]]:
    """Host and port of a server that gives `answer(k, asked)` to request k; and what it was asked."""
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def answer(self) -> None:
            asked.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.requests.append(f"{self.command} {self.path}")
            asked.headers = {name.lower(): value for name, value in self.headers.items()}
            given = answer(len(asked.requests) - 1, asked)
            if given.status == CLOSED:
                self.close_connection = True
                return
            body = f"<Error><Code>{given.code}</Code></Error>".encode() if given.code else given.body
            self.send_response(given.status)
            for name, value in {"Content-Length": str(len(body)), **given.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
