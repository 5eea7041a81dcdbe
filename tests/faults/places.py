"""Where a campaign keeps its sweeps, and what of it can be broken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.clock import JumpingClock, why_no_clock
from tests.faults.disk import SmallDisk, small_disk, why_no_disk
from tests.faults.kinds import MIXED, CampaignName


@dataclass(frozen=True)
class Place:
    """A store: `uri` as the commands get it, `own_uri` past whatever stands between, `environment` for the commands."""

    uri: str
    own_uri: str
    environment: Mapping[str, str] = field(default_factory=dict)
    disk: SmallDisk | None = None
    clock: JumpingClock | None = None


def impossible(folder: Path) -> dict[str, str]:
    """The kinds of fault, and the stores, that this machine does not permit, and why."""
    reasons = {"full-disk": why_no_disk(folder / "tried"), "clock-jump": why_no_clock()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


@contextlib.contextmanager
def open_place(name: CampaignName, folder: Path, without: Mapping[str, str]) -> Iterator[Place]:
    """The store of a campaign in `folder`, with what its faults need; none of the kinds `without`."""

    def needs(kind: str) -> bool:
        return name.kind in (kind, MIXED) and kind not in without

    with contextlib.ExitStack() as opened:
        clock = JumpingClock(folder) if needs("clock-jump") else None
        disk = opened.enter_context(small_disk(folder / "disk")) if needs("full-disk") else None
        uri = str((disk.folder if disk else folder) / "store")
        yield Place(uri, uri, clock.environment if clock else {}, disk, clock)
