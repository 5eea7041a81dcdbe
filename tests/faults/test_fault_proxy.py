"""The proxy passes requests on as they are, and fails as it is told to."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.faults.proxy import Answer, FaultyProxy, Treatment, refusing, slow, unharmed


class Upstream(ThreadingHTTPServer):
    """A store of one object that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.asked.append((self.command, self.path, dict(self.headers.items()), body))
                self.send_response(204 if self.command == "DELETE" else 200)
                if self.command != "DELETE":
                    self.send_header("Content-Length", "6")
                    self.send_header("ETag", '"e"')
                self.end_headers()
                if self.command not in ("HEAD", "DELETE"):
                    self.wfile.write(b"object")

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultyProxy]:
    made = FaultyProxy(upstream.server_address[1])
    made.start()
    yield made
    made.stop()


@pytest.fixture
def connection(proxy: FaultyProxy) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.port)) as made:
        yield made


def ask(connection: http.client.HTTPConnection, method: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection.request(method, "/bucket/a%20key?x=1&y", body, headers, encode_chunked="Transfer-Encoding" in headers)
    response = connection.getresponse()
    return response.status, response.read()


def test_requests_are_passed_on_with_path_headers_and_body(
    upstream: Upstream, proxy: FaultyProxy, connection: http.client.HTTPConnection
) -> None:
    assert ask(connection, "GET", Range="bytes=0-5") == (200, b"object")
    assert ask(connection, "PUT", b"data", **{"Content-MD5": "x"}) == (200, b"object")
    assert ask(connection, "PUT", iter([b"da", b"ta"]), **{"Transfer-Encoding": "chunked"}) == (200, b"object")
    assert ask(connection, "HEAD") == (200, b"")
    assert ask(connection, "DELETE") == (204, b"")
    assert [(method, path, body) for method, path, _, body in upstream.asked] == [
        (method, "/bucket/a%20key?x=1&y", body)
        for method, body in (("GET", b""), ("PUT", b"data"), ("PUT", b"data"), ("HEAD", b""), ("DELETE", b""))
    ]
    assert all(headers["Host"] == f"127.0.0.1:{proxy.port}" for _, _, headers, _ in upstream.asked)
    assert upstream.asked[0][2]["Range"] == "bytes=0-5"
    assert upstream.asked[1][2]["Content-MD5"] == "x"


def test_a_refused_request_does_not_reach_the_store_and_the_connection_goes_on(
    upstream: Upstream, proxy: FaultyProxy, connection: http.client.HTTPConnection
) -> None:
    proxy.treat = lambda: Treatment(answer=Answer.REFUSED)
    status, body = ask(connection, "PUT", b"data")
    assert status == 503
    assert b"<Code>SlowDown</Code>" in body
    assert upstream.asked == []
    proxy.treat = unharmed
    assert ask(connection, "GET") == (200, b"object")


def test_a_lost_answer_is_of_a_request_that_was_done(
    upstream: Upstream, proxy: FaultyProxy, connection: http.client.HTTPConnection
) -> None:
    proxy.treat = lambda: Treatment(answer=Answer.LOST)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(connection, "PUT", b"data")
    assert [body for *_, body in upstream.asked] == [b"data"]


def test_a_store_that_is_not_there_is_a_broken_connection(
    upstream: Upstream, connection: http.client.HTTPConnection
) -> None:
    upstream.shutdown()
    upstream.server_close()
    with pytest.raises(http.client.RemoteDisconnected):
        ask(connection, "GET")


def test_policies_are_drawn_from_their_seed() -> None:
    for policy in (refusing, slow):
        one, same, other = (policy(seed) for seed in (1, 1, 2))
        treatments = [one() for _ in range(50)]
        assert treatments == [same() for _ in range(50)]
        assert treatments != [other() for _ in range(50)]
    treat = refusing(3)
    assert {treat().answer for _ in range(300)} == set(Answer)
    treat = slow(3)
    assert all(0 <= treat().wait_s <= 4 for _ in range(50))
