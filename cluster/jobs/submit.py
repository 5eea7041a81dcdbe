"""Hand a sweep's driver to a cluster, once: a second submission of the same sweep joins the first.

The driver's job id is the sweep's name, a digest of its store and a number that counts up, so two submissions at once
meet in the jobs server, which takes an id once. What the sweep is stays in the store, where the driver finds it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from grok_sweeps.cluster.jobs.server import Job, JobsServer
from grok_sweeps.cluster.joined_ray import PREFLIGHT_PASSED, WAITING
from grok_sweeps.errors import ClusterError
from grok_sweeps.progress import HEARTBEAT_S, STALE_S, heartbeat_age_s
from grok_sweeps.store import SweepStore
from grok_sweeps.store.lease import read_lease
from grok_sweeps.store.take_lease import live_holder

WAIT_S = 60.0
"""Longest wait for what the driver says of its cluster."""
OLD_S = 600.0
"""Age of a heartbeat that no difference of clocks explains."""
_TRIES = 5
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Submission:
    """A driver on a cluster: `joined` one that was there, or a new one. `said` is what it said of its preflight.

    `options` are those of `grok-sweeps resume` that it was started with; None where that is not known.
    """

    submission_id: str
    joined: bool
    said: str
    options: tuple[str, ...] | None = None


def job_prefix(store_uri: str, sweep: str) -> str:
    """What the ids of a sweep's jobs begin with."""
    digest = hashlib.sha256(f"{store_uri}\n{sweep}".encode()).hexdigest()[:8]
    return f"grok-sweeps-{re.sub(r'[^A-Za-z0-9_-]', '-', sweep)}-{digest}-"


def live_job(server: JobsServer, store_uri: str, sweep: str) -> Job | None:
    """The job that drives a sweep on this cluster now, or None."""
    return _live(_jobs(server, job_prefix(store_uri, sweep)))


def submit(
    server: JobsServer,
    store: SweepStore,
    options: Sequence[str],
    runtime_env: Mapping[str, Any],
    is_finished: Callable[[], bool],
    tell: Callable[[str], None] = lambda _: None,
    *,
    waits: bool = False,
) -> Submission | None:
    """Start the driver of a sweep that is in the store, or join the one that is at work; None where none is needed.

    Args:
        server: of the cluster.
        store: the sweep.
        options: of `grok-sweeps resume`, for the driver.
        runtime_env: see `shipping`.
        is_finished: reads from the store whether nothing is left to do.
        tell: is told what takes time.
        waits: have the job wait for a driver elsewhere, instead of joining that one.

    Raises:
        ClusterError: the cluster refuses the job, or the driver its cluster.
    """
    prefix = job_prefix(store.objects.uri, store.sweep)
    for _ in range(_TRIES):
        # The jobs first, then the store: a job that does all the work meanwhile has taken the id of the next.
        jobs = _jobs(server, prefix)
        live = _live(jobs)
        if live is not None:
            said = f"job {live.submission_id} is {live.state}"
            return Submission(live.submission_id, joined=True, said=said, options=_options(live.entrypoint))
        elsewhere = None if waits or _ended_here(server, store) else _driver_elsewhere(store, tell)
        if elsewhere is not None:
            return Submission("", joined=True, said=elsewhere)
        if is_finished():
            return None
        numbers = [int(job.submission_id.removeprefix(prefix)) for job in jobs]
        submission_id = f"{prefix}{max(numbers, default=0) + 1}"
        # The job's own id is among its arguments: it goes into the heartbeat.
        arguments = ["resume", store.sweep, "--address", "auto", "--store", store.objects.uri, *options]
        entrypoint = shlex.join(
            ["python", "-m", "grok_sweeps.cluster.cli", *arguments, "--submission-id", submission_id]
        )
        metadata = {"sweep": store.sweep, "store": store.objects.uri}
        if server.submit(submission_id, entrypoint, runtime_env, metadata):
            now = datetime.now(UTC).isoformat()
            store.put_job({"submission_id": submission_id, "address": server.address, "submitted_at": now})
            return Submission(submission_id, joined=False, said=_first_words(server, submission_id))
    raise ClusterError(f"the cluster at {server.address} took another job of this sweep {_TRIES} times; try again.")


def _jobs(server: JobsServer, prefix: str) -> list[Job]:
    """The jobs that were submitted under a prefix and a number."""
    return [job for job in server.jobs() if re.fullmatch(re.escape(prefix) + r"\d+", job.submission_id)]


def _options(entrypoint: str) -> tuple[str, ...] | None:
    """The options that a driver's command was given, those left out that `submit` sets itself."""
    words = shlex.split(entrypoint)
    if "--store" not in words or "--submission-id" not in words:
        return None
    return tuple(words[words.index("--store") + 2 : words.index("--submission-id")])


def _live(jobs: Sequence[Job]) -> Job | None:
    return next((job for job in jobs if not job.is_over), None)


def _first_words(server: JobsServer, submission_id: str) -> str:
    """Wait until the driver has looked at its cluster, and return what it said of it.

    Raises:
        ClusterError: it has ended without that; the error is the driver's own.
    """
    until = time.monotonic() + WAIT_S
    while True:
        job = server.job(submission_id)
        lines = server.logs(submission_id).splitlines()
        if job is None or job.is_over:
            return _last_words(submission_id, job, lines)
        for line in lines:
            if line.startswith((PREFLIGHT_PASSED, WAITING)):
                return line
        if time.monotonic() >= until:
            return f"job {submission_id} is {job.state} since {WAIT_S:.0f} s and has said nothing yet"
        time.sleep(_LOOK_EVERY_S)


def _last_words(submission_id: str, job: Job | None, lines: Sequence[str]) -> str:
    if job is not None and job.state == "SUCCEEDED":
        return lines[-1] if lines else "it has ended"
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        raise ClusterError(errors[-1])
    why = job.message.strip().splitlines() if job is not None else []
    raise ClusterError(
        f"job {submission_id} {job.state if job else 'is gone'}: {why[-1] if why else 'no reason is known'}"
    )


def _ended_here(server: JobsServer, store: SweepStore) -> bool:
    """Whether the last driver was a job of this cluster that is over: then no heartbeat needs to grow old.

    Another cluster may have had a job of the same id, so the address counts too.
    """
    driver = (store.load_status() or {}).get("driver") or {}
    last = store.load_job()
    if last is None or last["address"] != server.address or last["submission_id"] != driver.get("submission_id"):
        return False
    job = server.job(last["submission_id"])
    return job is not None and job.is_over


def _driver_elsewhere(store: SweepStore, tell: Callable[[str], None]) -> str | None:
    """The driver that is at work on the sweep, on another cluster or machine, in words; None without one.

    Of a driver without a lease the heartbeat is watched: it may be the last of a driver that has
    just died with its cluster, and the clocks of two machines differ. So a next one is waited for, unless this one is
    old by any clock.
    """
    for _ in range(_TRIES if read_lease(store) is not None else 0):
        holder = live_holder(store, tell)
        if holder is None:
            break
        if "command" not in holder.driver:  # `gc` holds it for a moment
            return f"{holder.who} is at work on it"
    status = store.load_status()
    age = heartbeat_age_s(status)
    if status is None or status["state"] != "running" or age is None or age > OLD_S or status.get("fence") is not None:
        return None
    tell(f"a driver was at work on {(status.get('driver') or {}).get('host')}; looking whether it still is")
    until = time.monotonic() + STALE_S
    while time.monotonic() < until:
        time.sleep(HEARTBEAT_S / 2)
        now = store.load_status() or {}
        if now.get("state") != "running":
            return None
        if now["heartbeat_at"] != status["heartbeat_at"]:
            who = now.get("driver") or {}
            what = f"job {who['submission_id']}" if who.get("submission_id") else "a driver"
            return f"{what} on {who.get('host')} is at work on it"
    return None
