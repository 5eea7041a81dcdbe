"""The servers of the tests: where they listen, and that none is left behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from s3_servers import PORTS, Credentials, EndedError, MotoServer, S3Server, free_ports, running


class Ends(S3Server):
    """Ends at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Credentials("a", "b"))
        self.tried: list[int] = []

    def command(self) -> Sequence[str]:
        self.tried.append(self.port)
        return (sys.executable, "-c", "raise SystemExit('no port')")


class Silent(S3Server):
    """Stays, and is not made ready."""

    def command(self) -> Sequence[str]:
        return ("sleep", "600")

    def _prepare(self) -> None:
        raise AssertionError("not ready")


class MotoOnTheSecondPort(MotoServer):
    """Ends at once on the first port."""

    tries = 0

    def command(self) -> Sequence[str]:
        self.tries += 1
        return (sys.executable, "-c", "raise SystemExit(1)") if self.tries == 1 else super().command()


def test_ports_are_below_those_of_connections() -> None:
    firsts = list(islice(free_ports(10), 50))
    assert len(set(firsts)) == 50
    assert all(PORTS[0] <= first <= 32_768 - 10 for first in firsts)


def test_a_server_that_ends_at_once_is_tried_on_other_ports_and_then_told(tmp_path: Path) -> None:
    server = Ends(tmp_path)
    with pytest.raises(EndedError, match="no port"), running(server):
        pass
    assert len(set(server.tried)) == 3


def test_a_server_that_got_other_ports_is_up(tmp_path: Path) -> None:
    pytest.importorskip("moto", reason="moto is not installed")
    with running(MotoOnTheSecondPort(tmp_path)) as server:
        assert server.keys() == []


def test_a_server_that_does_not_get_ready_is_stopped(tmp_path: Path) -> None:
    server = Silent(tmp_path, Credentials("a", "b"))
    with pytest.raises(AssertionError, match="not ready"), running(server):
        pass
    assert server.process is not None
    assert server.process.poll() is not None
