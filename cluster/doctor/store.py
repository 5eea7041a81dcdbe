"""Try the store out: nothing about a server is assumed, everything that sweeps rely on is done once.

Some S3-compatible servers ignore the condition of a conditional write without an error, and some store chunked uploads
with the chunks' headers among the bytes; both look fine until numbers are wrong.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from grok_sweeps.cluster.doctor.check import Check, failure, ok, warning
from grok_sweeps.errors import StoreError
from grok_sweeps.store import ObjectStore
from grok_sweeps.store.probe import probe_conditional_writes

PROBE_FOLDER = ".grok-sweeps-doctor"
SMALL_BYTES = 1_000
LARGE_BYTES = 20_001_743
"""Several parts of an upload, and no multiple of anything."""
RACERS = 4
SKEW_WARNING_S = 5.0
SKEW_FAILURE_S = 300.0
FREE_WARNING_BYTES = 5 << 30
FREE_FAILURE_BYTES = 200 << 20
_WORKING_SERVER = "use a server that honours If-None-Match; until then never start a sweep twice at once"
_LEASES = "use a server that honours If-Match, or start sweeps with --no-lease and never one twice at once"
_CONSISTENT = "use a server that shows at once what was written, as S3 does"
_CHUNKS = "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required for everything that opens the store, and try again"


def check_store(objects: ObjectStore, now: Callable[[], float] = time.time) -> Iterator[Check]:
    """Yield one check after the other; what was written is deleted at the end.

    Args:
        objects: the store.
        now: this machine's time in seconds since the epoch.
    """
    probe = f"{PROBE_FOLDER}/{secrets.token_hex(4)}"
    root = objects.path("")
    made_here = root is not None and not root.exists()
    if root is not None:
        there = next(path for path in (root, *root.parents) if path.exists())
        yield space_check(shutil.disk_usage(there).free)
    names = [f"{probe}/{name}" for name in ("small", "large", "once")]
    try:
        before = now()
        server = objects.server_time()
        yield clock_check(None if server is None else _skew(before, server, now()))
        yield from _write_and_read(objects, *names)
        left = [info.name for info in objects.list(probe)]
        yield failure("delete", f"{', '.join(left)} still there", _CONSISTENT) if left else ok("delete", "gone")
    except StoreError as error:
        yield failure("store", str(error).removeprefix("store "), "")
    finally:
        _remove_folders(objects.path(probe), root if made_here else None)


def _write_and_read(objects: ObjectStore, small: str, large: str, once: str) -> Iterator[Check]:
    written = [small]
    try:
        data = os.urandom(SMALL_BYTES)
        began = time.perf_counter()
        objects.put(small, os.urandom(SMALL_BYTES))
        objects.put(small, data)
        yield read_back_check("write and read", data, objects.get(small), time.perf_counter() - began)
        written.append(large)
        data = os.urandom(LARGE_BYTES)
        began = time.perf_counter()
        objects.put(large, data)
        yield read_back_check("large object", data, objects.get(large), time.perf_counter() - began)
        yield _parts(objects, large, data)
        found = {info.name: info.size for info in objects.list(small.rpartition("/")[0])}
        yield listing_check(found, {small: SMALL_BYTES, large: LARGE_BYTES})
        written.append(once)
        yield _create(objects, once)
        yield conditions_check(probe_conditional_writes(objects, once.rpartition("/")[0]))
    except BaseException:
        with contextlib.suppress(StoreError):
            _delete(objects, written)
        raise
    _delete(objects, written)


def clock_check(skew_s: float | None) -> Check:
    """How far, in seconds, this machine's clock is from the one that dates the store's objects; None: not told."""
    if skew_s is None:
        return warning("clock", "the server does not tell its time", "see that a proxy before it keeps the Date header")
    text = f"this machine's is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the store's"
    if abs(skew_s) < SKEW_WARNING_S:
        return ok("clock", f"within {SKEW_WARNING_S:.0f} s of the store's")
    fix = "set the clock, with NTP for example: rows and heartbeats carry times, and S3 refuses requests at 15 minutes"
    return failure("clock", text, fix) if abs(skew_s) >= SKEW_FAILURE_S else warning("clock", text, fix)


def read_back_check(name: str, written: bytes, read: bytes | None, seconds: float) -> Check:
    """Whether an object came back as it was written."""
    if read == written:
        return ok(name, f"{len(written):,} bytes, in {seconds:.2f} s")
    came = "nothing came back" if read is None else f"{len(read):,} other bytes came back"
    return failure(name, f"{len(written):,} bytes were written and {came}", _CHUNKS)


def listing_check(found: dict[str, int], expected: dict[str, int]) -> Check:
    """Whether a listing shows what was written, with sizes in bytes."""
    if found == expected:
        return ok("listing", "shows what was written at once")
    return failure(
        "listing",
        f"shows {sorted(found.items())} where {sorted(expected.items())} was written",
        f"{_CONSISTENT}: a row that is not listed is trained again",
    )


def create_check(winners: int, overwritten: bool) -> Check:
    """Whether of several writers one makes an object, and a later one leaves it as it is."""
    name = "create once"
    if overwritten:
        return failure(name, "an object that was there is overwritten", _WORKING_SERVER)
    if winners != 1:
        return failure(
            name, f"{winners} of {RACERS} writers at once were told that they made the object", _WORKING_SERVER
        )
    return ok(name, f"one of {RACERS} writers at once makes the object, and it stays")


def conditions_check(why: str | None) -> Check:
    """Whether an object is replaced by its ETag alone, as the lease that keeps two drivers apart has to be."""
    name = "conditional writes"
    return ok(name, "an object is replaced by its ETag alone") if why is None else failure(name, why, _LEASES)


def space_check(free_bytes: int) -> Check:
    """Whether there is room on the disk."""
    text = f"{free_bytes / 1e9:,.1f} GB"
    if free_bytes >= FREE_WARNING_BYTES:
        return ok("free space", text)
    fix = "free space, or name another directory; `grok-sweeps plan` says what a sweep's checkpoints take"
    made = failure if free_bytes < FREE_FAILURE_BYTES else warning
    return made("free space", text, fix)


def _delete(objects: ObjectStore, names: Sequence[str]) -> None:
    for name in names:
        objects.delete(name)


def _parts(objects: ObjectStore, name: str, data: bytes) -> Check:
    """Read here and there, as a search for a run's state does."""
    file = objects.open(name)
    if file is None:
        return failure("partial reads", "the object is not there", _CONSISTENT)
    with file:
        for start in (0, LARGE_BYTES // 2, LARGE_BYTES - SMALL_BYTES):
            file.seek(start)
            if file.read(SMALL_BYTES) != data[start : start + SMALL_BYTES]:
                return failure("partial reads", f"other bytes at {start:,}", "use a server that honours Range")
    return ok("partial reads", "from the start, the middle and the end")


def _create(objects: ObjectStore, name: str) -> Check:
    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(lambda k: objects.create(name, b"%d" % k), range(RACERS)))
    first = objects.get(name)
    late = objects.create(name, b"late")
    return create_check(sum(won), late or objects.get(name) != first)


def _skew(before: float, server: float, after: float) -> float:
    """Seconds our clock is ahead of the store's, which tells whole seconds, as far as the wait leaves no doubt."""
    if before - server > 1.0:
        return before - server - 1.0
    return min(0.0, after - server)


def _remove_folders(probe: Path | None, root: Path | None) -> None:
    if probe is None:
        return
    for folder in (probe, probe.parent, *([] if root is None else [root])):
        with contextlib.suppress(OSError):
            folder.rmdir()
