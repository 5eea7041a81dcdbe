"""The kinds of fault, and which store can suffer them. A campaign is one kind on one store. Pure."""

from __future__ import annotations

from dataclasses import dataclass

DIRECTORY, S3 = "directory", "s3"
STORES = (DIRECTORY, S3)
MIXED = "mixed"
"""The kind that is all the others of a store in one campaign, so that one fault meets what another left."""
MIXED_LASTS_S = 5.0
"""Longest fault of a mixed campaign: it is there for their number."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to break something.

    Attributes:
        does: what it does, for the table's reader.
        weight: of its faults among those of all campaigns; what is slow to recover from has less.
        lasts_s: bounds of how long it lasts; what lasts no time has none.
        stores: where there is such a thing.
        two_drivers: whether it has two drivers on one sweep: no mixed campaign has it, and its own has a short lease.
    """

    does: str
    weight: int
    lasts_s: tuple[float, float] = (0.0, 0.0)
    stores: tuple[str, ...] = STORES
    two_drivers: bool = False


KINDS = {
    "kill-worker": Kind("SIGKILL of a process that trains", 14),
    "stop-worker": Kind("SIGSTOP of a process that trains, SIGCONT later", 12, (0.5, 6.0)),
    "kill-driver": Kind("SIGKILL of `grok-sweeps` alone", 8),
    "stop-driver": Kind("SIGSTOP of `grok-sweeps` alone, SIGCONT later", 10, (0.5, 6.0)),
    "kill-everything": Kind("SIGKILL of `grok-sweeps` and all below it", 8),
    "stop-everything": Kind("SIGSTOP of `grok-sweeps` and all below it, SIGCONT later", 10, (0.5, 6.0)),
    "full-disk": Kind("the store's disk has no byte left for a while", 8, (0.5, 5.0), (DIRECTORY,)),
    "kill-server": Kind("SIGKILL of the store's server, started again later", 8, (0.0, 8.0), (S3,)),
    "stop-server": Kind("SIGSTOP of the store's server, SIGCONT later", 6, (1.0, 30.0), (S3,)),
    "answer-503": Kind("the server answers a share of requests with 503", 12, (1.0, 6.0), (S3,)),
    "answer-slowly": Kind("the server takes up to seconds for every answer", 10, (1.0, 8.0), (S3,)),
    "clock-jump": Kind("the clock of every process but the server's is minutes to hours off", 10, (1.5, 8.0)),
    MIXED: Kind("all of these in turn", 12),
    "second-driver": Kind("a second driver of the sweep is started beside the first", 7, (0.5, 6.0), two_drivers=True),
    "replaced-driver": Kind(
        "SIGSTOP of a driver, alone or with all below it, until another has taken its sweep over",
        7,
        (0.0, 6.0),
        two_drivers=True,
    ),
}


@dataclass(frozen=True, slots=True)
class CampaignName:
    """A kind of fault on a store."""

    store: str
    kind: str

    def __str__(self) -> str:
        return f"{self.store} {self.kind}"


def campaigns(stores: tuple[str, ...], kinds: tuple[str, ...]) -> tuple[CampaignName, ...]:
    """Every kind on every store that can suffer it, in the order of the table."""
    return tuple(CampaignName(store, kind) for store in stores for kind in KINDS if kind in kinds and _on(store, kind))


def members(store: str) -> tuple[str, ...]:
    """The kinds that a mixed campaign on a store is made of."""
    return tuple(kind for kind, how in KINDS.items() if kind != MIXED and not how.two_drivers and _on(store, kind))


def _on(store: str, kind: str) -> bool:
    return store in KINDS[kind].stores
