"""Take a sweep's lease: at once where it is free, after watching it for its time where its holder may have died."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from grok_sweeps.errors import LeaseHeldError, NoConditionalWritesError
from grok_sweeps.process import has_ended
from grok_sweeps.store.lease import Clock, Lease, LeaseState, read_lease, since_boot
from grok_sweeps.store.probe import probe_conditional_writes
from grok_sweeps.store.sweep import SweepStore

LOOK_EVERY_S = 1.0


class Candidate:
    """A process that waits for the lease and watches the one that stands.

    `standing` is that lease, `renewals` how often it was seen to be renewed.
    """

    def __init__(self, store: SweepStore, driver: Mapping[str, Any], clock: Clock | None = None) -> None:
        self._store, self._driver = store, driver
        # Who watches does not count time in which this machine slept; who holds a lease does.
        self._clock, self._holder_clock = clock or time.monotonic, clock or since_boot
        self._unchanged_since = self._clock()
        self.standing: LeaseState | None = None
        self.renewals = 0

    def attempt(self) -> Lease | None:
        """Look once, and take the lease if it is free; None where it is not, or another was sooner."""
        if not self.is_free():
            return None
        standing = self.standing
        last = standing.fence if standing else self._fence_of_deleted()
        lease = Lease(self._store, self._driver, last + 1, self._holder_clock)
        return lease if lease.begin(standing) else None

    def _fence_of_deleted(self) -> int:
        """The last fence where the lease was deleted, as one is that is damaged: workers may still have that fence."""
        return int((self._store.load_status() or {}).get("fence") or 0)

    def is_free(self) -> bool:
        """Look once: whether nobody holds the lease."""
        standing = read_lease(self._store)
        if standing is not None and (self.standing is None or self.standing.etag != standing.etag):
            self.renewals += self.standing is not None
            self._unchanged_since = self._clock()
        self.standing = standing
        return (
            standing is None
            or standing.released
            or self._clock() - self._unchanged_since >= standing.for_s
            or has_ended(standing.process)
        )


def take_lease(
    store: SweepStore,
    driver: Mapping[str, Any],
    *,
    wait_s: float = 0.0,
    tell: Callable[[str], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Take the sweep's lease, which takes up to `LEASE_S` where its last holder has died elsewhere.

    Args:
        store: the sweep.
        driver: who wants it: `host`, and `submission_id` or `command` if it is one.
        wait_s: how long a driver that is alive is waited for.
        tell: is told once what is waited for.
        stopped: whether to wait no longer.
        clock: monotonic seconds; replaced in tests.
        sleep: replaced in tests.

    Raises:
        LeaseHeldError: another driver holds it, and renews it.
        NewerSchemaError: a later version drives this store.
    """
    candidate, told, seen = Candidate(store, driver, clock), False, 0
    clock = clock or time.monotonic
    began = clock()
    while (lease := candidate.attempt()) is None:
        standing = candidate.standing
        if standing is not None and not told:
            told = True
            tell(_looking(store, standing))
        renewed, seen = candidate.renewals > seen, candidate.renewals
        if standing is not None and (stopped() or (renewed and clock() - began >= wait_s)):
            raise LeaseHeldError(
                f"sweep '{store.sweep}' is driven by {standing.who}. `grok-sweeps status {store.sweep}` shows it, "
                f"`grok-sweeps cancel {store.sweep}` stops it, `run` and `resume` wait for its end with "
                "--wait-for-driver SECONDS."
            )
        sleep(LOOK_EVERY_S)
    return lease


def live_holder(
    store: SweepStore,
    tell: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> LeaseState | None:
    """Who holds the lease and renews it, or None where nobody does; it is not taken."""
    watching, told = Candidate(store, {}, clock), False
    while not watching.is_free() and watching.standing is not None:
        if watching.renewals:
            return watching.standing
        if not told:
            told = True
            tell(_looking(store, watching.standing))
        sleep(LOOK_EVERY_S)
    return None


def _looking(store: SweepStore, standing: LeaseState) -> str:
    return f"sweep '{store.sweep}' was driven by {standing.who}; looking whether it still is"


@contextmanager
def driver_lease(
    store: SweepStore,
    driver: Mapping[str, Any],
    *,
    no_lease: bool = False,
    wait_s: float = 0.0,
    tell: Callable[[str], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Lease | None]:
    """Hold the sweep's lease while the context lasts: see `take_lease` and `Lease.kept`; None with `no_lease`.

    Raises:
        NoConditionalWritesError: the store cannot hold one.
        LeaseHeldError: another driver holds it.
    """
    if no_lease:
        yield None
        return
    if why := probe_conditional_writes(store.objects, store.sweep):
        raise NoConditionalWritesError(
            f"store {store.objects.uri}: cannot keep two drivers of a sweep apart: {why} Use another store; or give "
            "--no-lease, and never start a sweep twice at once."
        )
    lease = take_lease(store, driver, wait_s=wait_s, tell=tell, stopped=stopped)
    with lease.kept():
        yield lease
