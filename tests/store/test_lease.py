"""The lease: one driver a sweep, whoever dies, sleeps or comes back, whatever the store does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from memory_objects import MemoryObjects

from grok_sweeps.errors import (
    CorruptObjectError,
    LeaseHeldError,
    LeaseLostError,
    NewerSchemaError,
    NoConditionalWritesError,
    StoreError,
)
from grok_sweeps.process import has_ended, this_process
from grok_sweeps.store import SweepStore
from grok_sweeps.store import lease as lease_module
from grok_sweeps.store.documents import decode_document, encode_document
from grok_sweeps.store.lease import LEASE_FORMAT, LEASE_S, RENEW_EVERY_S, Lease, check_fence, read_lease
from grok_sweeps.store.take_lease import LOOK_EVERY_S, Candidate, driver_lease, take_lease

HOST = {"host": "far-away"}


class Time:
    """A clock that waiting moves on; what is in `each_second` is done meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.each_second: list[Callable[[], None]] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for done in list(self.each_second):
            done()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def memory() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def store(memory: MemoryObjects) -> SweepStore:
    return SweepStore(memory.as_store(), "made")


@pytest.fixture
def take(store: SweepStore, time: Time) -> Callable[..., Lease]:
    def take(**options: Any) -> Lease:
        return take_lease(store, HOST, clock=time.clock, sleep=time.sleep, **options)

    return take


Take = Callable[..., Lease]


class TestOnEveryBackend:
    def test_a_lease_is_taken_renewed_given_back_and_taken_again(self, sweep: SweepStore) -> None:
        first = take_lease(sweep, HOST)
        first.check()
        before = read_lease(sweep)
        first.renew()
        after = read_lease(sweep)
        assert before is not None
        assert after is not None
        assert (before.fence, before.holder, before.released) == (after.fence, after.holder, after.released)
        assert before.etag != after.etag
        first.renew(released=True)
        second = take_lease(sweep, HOST)
        assert (first.fence, second.fence) == (1, 2)
        with pytest.raises(LeaseLostError, match="taken over"):
            first.check()
        second.check()

    @pytest.mark.parametrize("dead", [False, True], ids=["the first", "after a dead one"])
    def test_of_eight_who_want_it_one_gets_it(self, sweep: SweepStore, time: Time, dead: bool) -> None:
        if dead:
            take_lease(sweep, HOST, clock=time.clock)
        candidates = [Candidate(sweep, {"host": f"h{k}"}, time.clock) for k in range(8)]
        if dead:
            assert [candidate.attempt() for candidate in candidates] == [None] * 8
            time.now += LEASE_S
        barrier = threading.Barrier(8)

        def attempt(candidate: Candidate) -> Lease | None:
            barrier.wait()
            return candidate.attempt()

        with ThreadPoolExecutor(8) as pool:
            leases = list(pool.map(attempt, candidates))
        (won,) = (k for k in range(8) if leases[k] is not None)
        standing = read_lease(sweep)
        assert standing is not None
        assert (standing.driver, standing.fence) == ({"host": f"h{won}"}, 1 + dead)
        assert [candidate.attempt() for candidate in candidates if candidate is not candidates[won]] == [None] * 7


def test_a_live_driver_is_named_with_what_to_do(take: Take, time: Time) -> None:
    holder = take()
    time.each_second = [holder.renew]
    told: list[str] = []
    with pytest.raises(LeaseHeldError) as caught:
        take(tell=told.append)
    message = str(caught.value)
    assert f"sweep 'made' is driven by a driver, pid {os.getpid()}, on far-away, since 2" in message
    assert all(word in message for word in ("status made", "cancel made", "--wait-for-driver SECONDS"))
    assert "\n" not in message
    assert len(told) == 1
    assert time.now <= 2 * LOOK_EVERY_S, "its first renewal says that it lives"
    holder.check()


def test_a_job_is_named_by_its_id(store: SweepStore, take: Take, time: Time) -> None:
    time.each_second = [take_lease(store, {"host": "head", "submission_id": "job-1"}, clock=time.clock).renew]
    with pytest.raises(LeaseHeldError, match="is driven by job job-1 on head"):
        take()


def test_a_driver_that_ends_while_it_is_waited_for_is_followed_at_once(take: Take, time: Time) -> None:
    holder = take()
    time.each_second = [lambda: holder.renew(released=time.now >= 100)]
    assert take(wait_s=1000.0).fence == 2
    assert time.now == 100


def test_one_that_does_not_end_is_waited_for_as_long_as_was_said(take: Take, time: Time) -> None:
    time.each_second = [take().renew]
    with pytest.raises(LeaseHeldError):
        take(wait_s=50.0)
    assert 50 <= time.now <= 50 + 2 * LOOK_EVERY_S


def test_who_waits_can_be_stopped(take: Take, time: Time) -> None:
    time.each_second = [take().renew]
    with pytest.raises(LeaseHeldError):
        take(wait_s=1000.0, stopped=lambda: time.now >= 5)
    assert time.now == 5


def test_a_dead_drivers_lease_is_taken_over_when_its_time_is_up_and_not_before(take: Take, time: Time) -> None:
    dead = take()
    time.now = 7 * LEASE_S
    time.each_second = [lambda: dead.renew() if time.now == 7 * LEASE_S + 20 else None]
    assert take(wait_s=1000.0).fence == 2
    assert LEASE_S <= time.now - (7 * LEASE_S + 20) <= LEASE_S + 2 * LOOK_EVERY_S, "counted from its last renewal"
    assert not dead.holds


def test_a_driver_that_slept_finds_that_it_has_lost(store: SweepStore, take: Take, time: Time) -> None:
    sleeper = take()
    assert sleeper.holds
    waker = take()
    assert waker.fence == sleeper.fence + 1
    assert not sleeper.holds, "by its own clock, before it asks"
    with pytest.raises(LeaseLostError, match=r"the lease was taken over by a driver, pid .* on far-away"):
        sleeper.renew()
    assert sleeper.lost.is_set()
    with pytest.raises(LeaseLostError):
        sleeper.check()
    with pytest.raises(LeaseLostError):
        check_fence(store, sleeper.fence)
    check_fence(store, waker.fence)
    with pytest.raises(LeaseLostError):
        sleeper.renew(released=True)
    waker.check()


def test_a_lease_that_is_gone_is_lost(store: SweepStore, take: Take) -> None:
    lease = take()
    store.objects.delete(store.layout.lease)
    with pytest.raises(LeaseLostError, match="the lease is gone"):
        lease.renew()
    with pytest.raises(LeaseLostError, match="the lease is gone"):
        check_fence(store, lease.fence)


def test_a_lease_after_one_that_was_deleted_is_of_no_fence_that_workers_may_still_have(
    store: SweepStore, take: Take
) -> None:
    take().renew(released=True)
    old = take()
    store.put_status({"fence": old.fence})  # as every driver does, before it has workers
    store.objects.delete(store.layout.lease)
    new = take()
    assert new.fence > old.fence
    with pytest.raises(LeaseLostError, match="taken over"):
        check_fence(store, old.fence)
    store.objects.delete(store.layout.lease)
    store.objects.put(store.layout.status, b"damaged")
    with pytest.warns(UserWarning, match="status"):
        assert take().fence == 1


def test_a_store_that_goes_away_and_comes_back_costs_nothing_where_nobody_took_over(
    memory: MemoryObjects, take: Take, time: Time
) -> None:
    lease = take()
    memory.away = True
    time.now += LEASE_S
    with pytest.raises(StoreError):
        lease.renew()
    assert not lease.holds, "another may have it by now"
    assert not lease.lost.is_set()
    memory.away = False
    lease.renew()
    assert lease.holds


@pytest.mark.parametrize("n_lost", [1, 3])
def test_a_renewal_whose_answer_never_came_is_known_as_our_own(
    n_lost: int, memory: MemoryObjects, take: Take, time: Time
) -> None:
    lease = take()
    for _ in range(n_lost):
        memory.answer_lost = True
        with pytest.raises(StoreError, match="no answer"):
            lease.renew()
    time.now += 10
    lease.renew()
    lease.check()
    assert lease.holds


def test_a_renewal_counts_from_before_it_was_sent(memory: MemoryObjects, take: Take, time: Time) -> None:
    lease = take()
    memory.before_answer = lambda: time.sleep(LEASE_S / 2)
    lease.renew()
    assert lease.holds
    time.now += LEASE_S / 2
    assert not lease.holds


class TestAProcessOfThisMachine:
    @contextmanager
    def another(self) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
        code = "import json, time; from grok_sweeps.process import this_process; print(json.dumps(this_process()), "
        code += "flush=True); time.sleep(600)"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process, json.loads(process.stdout.readline())
            finally:
                process.kill()

    def test_has_ended_once_it_is_killed_and_not_while_it_is_stopped(self) -> None:
        with self.another() as (process, said):
            assert not has_ended(said)
            process.send_signal(signal.SIGSTOP)
            assert not has_ended(said)
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert has_ended(said), "a zombie"
            process.wait()
            assert has_ended(said), "gone"

    @pytest.mark.parametrize(
        ("change", "ended"),
        [
            ({}, False),
            ({"started": 1}, True),
            ({"boot": "another machine"}, False),
            ({"namespace": "pid:[1]", "pid": 2**22 + 1}, False),
            ({"pid": 2**22 + 1}, True),
            ({"pid": None}, False),
            ({"started": None}, False),
        ],
    )
    def test_is_another_where_it_began_at_another_time_and_unknown_elsewhere(
        self, change: dict[str, Any], ended: bool
    ) -> None:
        assert has_ended({**this_process(), **change}) is ended

    def test_that_was_killed_leaves_a_lease_that_is_taken_at_once(
        self, store: SweepStore, take: Take, time: Time
    ) -> None:
        take()
        said = decode_document(store.objects.get(store.layout.lease) or b"", "lease")
        with self.another() as (_, process):
            pass
        store.objects.put(store.layout.lease, encode_document({**said, "process": process}))
        assert take().fence == 2
        assert time.now == 0


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", encode_document({"format": 1}), encode_document({"format": "1"})]
)
def test_a_damaged_lease_is_one_line_with_the_fix(store: SweepStore, take: Take, data: bytes) -> None:
    lease = take()
    store.objects.put(store.layout.lease, data)
    with pytest.raises(
        CorruptObjectError, match=r"made/lease\.json: damaged\. See that nothing .* delete it and"
    ) as bad:
        take()
    assert "\n" not in str(bad.value)
    with pytest.raises(LeaseLostError, match="cannot be read"):
        lease.check()
    with pytest.raises(LeaseLostError, match="cannot be read"):
        check_fence(store, lease.fence)
    store.objects.delete(store.layout.lease)
    take().check()


def test_the_lease_of_a_later_version_is_refused(store: SweepStore, take: Take) -> None:
    take()
    said = decode_document(store.objects.get(store.layout.lease) or b"", "lease")
    store.objects.put(store.layout.lease, encode_document({**said, "format": LEASE_FORMAT + 1}))
    with pytest.raises(NewerSchemaError, match=r"made/lease\.json: .*upgrade grok-sweeps"):
        take()


class TestKept:
    @pytest.fixture(autouse=True)
    def _quickly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease_module, "RENEW_EVERY_S", 0.001)

    def test_it_is_renewed_while_it_lasts_and_then_given_back(self, store: SweepStore) -> None:
        renewed = threading.Event()
        replace = store.objects.replace

        def noted(name: str, data: bytes, etag: str) -> str | None:
            done = replace(name, data, etag)
            if name == store.layout.lease and decode_document(data, name)["renewals"] >= 3:
                renewed.set()
            return done

        store.objects.replace = noted  # type: ignore[method-assign]
        with driver_lease(store, HOST) as lease:
            assert lease is not None
            assert renewed.wait(60)
            lease.check()
        standing = read_lease(store)
        assert standing is not None
        assert standing.released
        lease.renew()
        assert read_lease(store) == standing, "a renewal that comes late changes nothing"

    def test_who_loses_it_finds_out_and_gives_nothing_back(self, store: SweepStore) -> None:
        with driver_lease(store, HOST) as lease:
            assert lease is not None
            for _ in range(1000):  # the holder may renew it between our look and our write
                other = Lease(store, HOST, lease.fence + 1)
                if other.begin(read_lease(store)):
                    break
            assert lease.lost.wait(60)
            assert not lease.holds
        other.check()

    def test_an_error_inside_gives_it_back_too(self, store: SweepStore) -> None:
        with pytest.raises(KeyError), driver_lease(store, HOST):
            raise KeyError
        assert take_lease(store, HOST).fence == 2

    def test_a_store_that_is_away_at_the_end_hides_no_error(self, store: SweepStore, memory: MemoryObjects) -> None:
        def work() -> None:
            memory.away = True
            raise KeyError

        with pytest.raises(KeyError), driver_lease(store, HOST):
            work()


def test_a_store_that_ignores_conditions_is_refused_unless_told(store: SweepStore, memory: MemoryObjects) -> None:
    def overwrites(name: str, data: bytes) -> bool:
        memory.put(name, data)
        return True

    memory.create = overwrites  # type: ignore[method-assign]
    with pytest.raises(NoConditionalWritesError, match=r"cannot keep two drivers .* overwritten .* --no-lease"):
        driver_lease(store, HOST).__enter__()
    with driver_lease(store, HOST, no_lease=True) as lease:
        assert lease is None
    assert memory.content == {}


def passes(lease: Lease) -> bool:
    """Whether the store says that it holds."""
    try:
        lease.check()
    except LeaseLostError:
        return False
    return True


DRIVERS = st.integers(0, 3)


class Drivers(RuleBasedStateMachine):
    """Four drivers of one sweep that look, renew, sleep, die and give back in any order, also amid each other's writes.

    A driver that does nothing while others act has been stopped (SIGSTOP) or is slow. `away` is the store.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time, self.memory = Time(), MemoryObjects()
        self.store = SweepStore(self.memory.as_store(), "made")
        self.candidates = [self.candidate(k) for k in range(4)]
        self.leases: list[Lease | None] = [None] * 4
        self.fences: list[int] = []

    def candidate(self, k: int) -> Candidate:
        return Candidate(self.store, {"host": f"h{k}"}, self.time.clock)

    def act(self, k: int, what: str) -> None:
        lease = self.leases[k]
        try:
            if what == "die":
                self.leases[k], self.candidates[k] = None, self.candidate(k)
            elif lease is not None and what in ("renew", "give back"):
                lease.renew(released=what == "give back")
                if what == "give back":
                    self.leases[k], self.candidates[k] = None, self.candidate(k)
            elif lease is None:
                self.leases[k] = taken = self.candidates[k].attempt()
                if taken is not None:
                    self.fences.append(taken.fence)
        except LeaseLostError:
            assert lease is not None
            assert lease.lost.is_set()
            self.leases[k], self.candidates[k] = None, self.candidate(k)
        except StoreError:
            pass  # it tries again, or does not

    ACTIONS = st.sampled_from(["look", "look", "renew", "give back", "die"])

    @rule(k=DRIVERS, what=ACTIONS)
    def one_acts(self, k: int, what: str) -> None:
        self.act(k, what)

    @rule(
        k=DRIVERS,
        what=ACTIONS,
        other=DRIVERS,
        meanwhile=ACTIONS,
        seconds=st.sampled_from([0.0, 1.0, 40.0]),
        when=st.sampled_from(["before_write", "before_answer"]),
    )
    def another_acts_during_its_write(
        self, k: int, what: str, other: int, meanwhile: str, seconds: float, when: str
    ) -> None:
        if other == k:
            return

        def interrupt() -> None:
            self.act(other, meanwhile)
            self.time.now += seconds
            self.act(other, meanwhile)

        setattr(self.memory, when, interrupt)
        self.act(k, what)
        setattr(self.memory, when, None)

    @rule(k=DRIVERS, what=ACTIONS)
    def an_answer_is_lost(self, k: int, what: str) -> None:
        self.memory.answer_lost = True
        self.act(k, what)
        self.memory.answer_lost = False

    @rule(seconds=st.sampled_from([0.5, RENEW_EVERY_S, 0.5 * LEASE_S, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.time.now += seconds

    @rule(k=DRIVERS, what=ACTIONS)
    def the_store_is_away(self, k: int, what: str) -> None:
        self.memory.away = True
        self.act(k, what)
        self.memory.away = False

    @invariant()
    def at_most_one_is_the_holder(self) -> None:
        leases = [lease for lease in self.leases if lease is not None]
        believing = [lease for lease in leases if lease.holds]  # before they ask
        passing = [lease for lease in leases if passes(lease)]
        assert len(passing) <= 1
        assert set(believing) <= set(passing)
        assert [lease.fence for lease in passing] in ([], self.fences[-1:])

    @invariant()
    def fences_grow(self) -> None:
        assert all(later > sooner for sooner, later in zip(self.fences, self.fences[1:], strict=False))

    def teardown(self) -> None:
        """Somebody can always go on."""
        candidate = self.candidate(9)
        for _ in range(2):
            lease = candidate.attempt()
            self.time.now += LEASE_S
            if lease is not None:
                lease.check()
                return
        assert candidate.attempt() is not None


Drivers.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDrivers = Drivers.TestCase
