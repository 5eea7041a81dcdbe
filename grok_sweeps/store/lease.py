"""One driver a sweep: who holds the lease in the store drives, and its fence number grows with every new holder.

`lease.json` is created once and then replaced by its ETag alone, so of many who want it one gets it. Its holder renews
it every `RENEW_EVERY_S`, each time with other bytes. Whoever has seen it unchanged for as long as it says (`for_s`), by
its own monotonic clock, takes it over (`take_lease.py`): no two clocks are compared. A lease that was given back, or
whose holder was a process of this machine that has ended, is free at once.

The holder counts from before each renewal was sent, and less than `for_s`, so it stops believing in its lease before
anybody else can have it. Where the store was away and nobody took over meanwhile, the next renewal makes it hold again.
A holder that slept (SIGSTOP, a closed laptop) finds another's lease at its next renewal, and has lost. What must be
done by the holder alone, such as a deletion, asks the store first: `check`. Workers compare the fence they were started
with: `check_fence`.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from grok_sweeps.errors import CorruptObjectError, LeaseLostError, NewerSchemaError, StoreError
from grok_sweeps.process import this_process
from grok_sweeps.store.documents import decode_document, encode_document
from grok_sweeps.store.sweep import SweepStore

LEASE_FORMAT = 1
"""Raised where an older driver must not touch the store any more."""
LEASE_S = 30.0
"""A lease that has not changed for so long has lost its holder."""
RENEW_EVERY_S = LEASE_S / 10
HELD_SHARE = 0.8
"""Share of that time after which a holder that could not renew it does not count on it any more."""

Clock = Callable[[], float]


def since_boot() -> float:
    """Seconds since this machine was started, those in which it slept included, where it can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease as it stands in the store; `holder` is a random name, `driver` and `process` say who that is."""

    fence: int
    holder: str
    driver: Mapping[str, Any]
    process: Mapping[str, Any]
    since: str
    for_s: float
    released: bool
    etag: str

    @property
    def who(self) -> str:
        """The holder in words."""
        job = self.driver.get("submission_id")
        what = f"job {job}" if job else f"{self.driver.get('command') or 'a driver'}, pid {self.process.get('pid')},"
        return f"{what} on {self.driver.get('host')}, since {self.since}"


def read_lease(store: SweepStore) -> LeaseState | None:
    """The lease as it stands, or None where there was never one.

    Raises:
        NewerSchemaError: it is a later version's.
        CorruptObjectError: it is damaged.
    """
    name = store.layout.lease
    found = store.objects.get_with_etag(name)
    if found is None:
        return None
    try:
        said = decode_document(found[0], name)
        if said["format"] > LEASE_FORMAT:
            raise NewerSchemaError(name, said["format"], LEASE_FORMAT)
        return LeaseState(
            int(said["fence"]),
            str(said["holder"]),
            dict(said["driver"]),
            dict(said["process"]),
            str(said["since"]),
            float(said["for_s"]),
            said["released"] is True,
            found[1],
        )
    except NewerSchemaError:
        raise
    except (CorruptObjectError, KeyError, TypeError, ValueError) as error:
        raise CorruptObjectError(
            f"{name}: damaged. See that nothing drives sweep '{store.sweep}' (`grok-sweeps status {store.sweep}`), "
            "delete it and run the same command again."
        ) from error


def check_fence(store: SweepStore, fence: int | None) -> None:
    """Raise `LeaseLostError` where the lease is not that of this fence any more: for workers, one read.

    Without a fence, which a driver without a lease gives, all goes.
    """
    if fence is not None:
        _expect(store, lambda standing: standing.fence == fence)


class Lease:
    """This process's lease, or what has become of it. Safe between threads."""

    def __init__(self, store: SweepStore, driver: Mapping[str, Any], fence: int, clock: Clock = since_boot) -> None:
        self.fence = fence
        self.lost = threading.Event()
        """Set for good once another holder was seen."""
        self._store, self._driver, self._clock = store, dict(driver), clock
        self._holder, self._process = secrets.token_hex(8), this_process()
        self._since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self._renewals, self._etag, self._renewed_at = 0, "", float("-inf")
        self._released = False
        self._lock = threading.Lock()

    @property
    def holds(self) -> bool:
        """Whether nobody else can have it yet, by this process's clock alone."""
        return not (self.lost.is_set() or self._released) and self._clock() - self._renewed_at < HELD_SHARE * LEASE_S

    def begin(self, standing: LeaseState | None) -> bool:
        """Take the place of the lease that stands, or be the first; whether nobody else was sooner."""
        objects, name, began = self._store.objects, self._store.layout.lease, self._clock()
        if standing is not None:
            etag = objects.replace(name, self._document(), standing.etag)
        else:
            found = objects.get_with_etag(name) if objects.create(name, self._document()) else None
            etag = found[1] if found is not None and found[0] == self._document() else None
        self._etag, self._renewed_at = etag or "", began
        return etag is not None

    def renew(self, *, released: bool = False) -> None:
        """Write it anew, or give it back for good.

        Raises:
            LeaseLostError: another holder has it.
            StoreError: the store does not answer.
        """
        with self._lock:
            if self._released:
                return
            self._renewals, self._released = self._renewals + 1, released  # whatever becomes of it
            data, etag = self._document(released=released), None
            while etag is None:
                began = self._clock()
                etag = self._store.objects.replace(self._store.layout.lease, data, self._etag)
                self._etag = etag or self._own().etag  # of an earlier renewal whose answer never came
            self._renewed_at = began

    def check(self) -> None:
        """Ask the store whether the lease is still this one.

        Raises:
            LeaseLostError: it is not.
            StoreError: the store does not answer.
        """
        self._own()

    @contextmanager
    def kept(self) -> Iterator[Lease]:
        """Renew it in a thread while the context lasts, then give it back; `lost` is set if another holder has it."""
        ended = threading.Event()
        thread = threading.Thread(target=self._renew_until, args=(ended,), name="lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            with contextlib.suppress(StoreError, LeaseLostError):  # it lapses by itself
                self.renew(released=True)

    def _renew_until(self, ended: threading.Event) -> None:
        while not ended.wait(RENEW_EVERY_S):
            try:
                self.renew()
            except LeaseLostError:
                return
            except Exception:  # noqa: S112 the store is away: `holds` says so, and the next renewal is tried
                continue

    def _own(self) -> LeaseState:
        """The lease that stands if it is this one, whatever renewal of it."""
        try:
            return _expect(self._store, lambda standing: standing.holder == self._holder and not standing.released)
        except LeaseLostError:
            self.lost.set()
            raise

    def _document(self, *, released: bool = False) -> bytes:
        return encode_document(
            {
                "format": LEASE_FORMAT,
                "fence": self.fence,
                "holder": self._holder,
                "driver": self._driver,
                "process": self._process,
                "since": self._since,
                "for_s": LEASE_S,
                "renewals": self._renewals,
                "released": released,
            }
        )


def _expect(store: SweepStore, is_expected: Callable[[LeaseState], bool]) -> LeaseState:
    """The lease that stands if it is the expected one; raise `LeaseLostError` if not, or if nobody can tell."""
    try:
        standing = read_lease(store)
    except CorruptObjectError as error:
        raise LeaseLostError(f"sweep '{store.sweep}': its lease cannot be read: {error}") from error
    if standing is not None and is_expected(standing):
        return standing
    why = f"was taken over by {standing.who}" if standing else "is gone"
    raise LeaseLostError(
        f"sweep '{store.sweep}': the lease {why}. This driver ends; `grok-sweeps status {store.sweep}` shows how the "
        "sweep stands."
    )
