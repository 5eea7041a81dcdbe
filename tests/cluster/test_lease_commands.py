"""One driver a sweep, as the commands keep it: who drives is named, waited for, followed, and never joined unseen."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cluster_processes import WAIT_S, here, wait_until

from grok_sweeps.cluster.driver import RunReport, _Driver
from grok_sweeps.cluster.jobs import submit as submit_module
from grok_sweeps.cluster.jobs.submit import _driver_elsewhere
from grok_sweeps.errors import ClusterError, StoreError
from grok_sweeps.plan import make_plan
from grok_sweeps.plan.finished_runs import FinishedRuns
from grok_sweeps.progress import measure_progress
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.lease import Lease, read_lease
from grok_sweeps.store.local import LocalObjects
from grok_sweeps.store.take_lease import driver_lease

SPEC = "name: made\nruns: {p: 5, seeds: 2, max_steps: 200}\n"
FAR = {"host": "far-away"}


@pytest.fixture(autouse=True)
def _quick(quick_lease: None) -> None:
    """All tests here."""


@pytest.fixture
def sweep(tmp_path: Path) -> SweepStore:
    (tmp_path / "made.yaml").write_text(SPEC)
    store = SweepStore(open_objects(str(tmp_path / "store")), "made")
    store.create(SPEC, make_plan(parse_spec(SPEC)))
    return store


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The fences under which sweeps were driven, which takes no time and no Ray here."""
    fences: list[int | None] = []

    def drive(driver: Any) -> RunReport:
        lease = read_lease(driver._store)
        fences.append(lease.fence if lease and not lease.released else None)
        return RunReport("finished", measure_progress("made", FinishedRuns(driver._plan), None), (), 1)

    monkeypatch.setattr(_Driver, "drive", drive)
    return fences


def run(folder: Path, *options: str) -> tuple[int, str]:
    done = here("run", "made.yaml", "--store", "store", *options, cwd=folder)
    return done.returncode, done.stdout + done.stderr


def test_a_sweep_is_driven_under_its_lease_which_is_given_back(
    sweep: SweepStore, driven: list[int | None], tmp_path: Path
) -> None:
    assert run(tmp_path)[0] == 0
    assert here("resume", "made", "--store", "store", cwd=tmp_path).returncode == 0
    assert driven == [1, 2]
    lease = read_lease(sweep)
    assert lease is not None
    assert lease.released


def test_a_driver_elsewhere_is_named_and_nothing_is_trained(
    sweep: SweepStore, driven: list[int | None], tmp_path: Path
) -> None:
    with driver_lease(sweep, FAR):
        code, said = run(tmp_path)
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 1
    assert f"sweep 'made' is driven by a driver, pid {os.getpid()}, on far-away" in error
    assert "--wait-for-driver SECONDS" in error
    assert driven == []


def test_a_driver_elsewhere_is_waited_for_and_followed(
    sweep: SweepStore, driven: list[int | None], tmp_path: Path
) -> None:
    with ExitStack() as held:
        held.enter_context(driver_lease(sweep, FAR))
        end = threading.Timer(0.5, held.close)
        end.start()
        code, said = run(tmp_path, "--wait-for-driver", str(WAIT_S))
        end.join()
    assert code == 0, said
    assert driven == [2]


@pytest.mark.parametrize("fails", [False, True])
def test_who_has_lost_the_lease_says_who_has_it_also_where_ray_has_failed_meanwhile(
    sweep: SweepStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    def loses(driver: Any) -> RunReport:
        standing = read_lease(sweep)
        while standing is None or not Lease(sweep, FAR, 7).begin(standing):
            standing = read_lease(sweep)
        assert driver._lease.lost.wait(WAIT_S), "it finds out"
        if fails:
            raise ClusterError("Ray does not start on this machine.")
        return RunReport("interrupted", measure_progress("made", FinishedRuns(driver._plan), None), (), 1)

    monkeypatch.setattr(_Driver, "drive", loses)
    code, said = run(tmp_path)
    assert code == 1
    assert "error: sweep 'made': the lease was taken over by a driver" in said
    assert (read_lease(sweep) or Lease(sweep, FAR, 0)).fence == 7


def test_a_store_without_locks_is_refused_unless_told(
    sweep: SweepStore, driven: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    code, said = run(tmp_path)
    assert code == 1
    assert "the file system has no file locks" in said
    assert "--no-lease" in said
    assert driven == []
    assert run(tmp_path, "--no-lease")[0] == 0
    assert driven == [None]


def test_a_store_that_cannot_be_written_is_told_as_that(
    sweep: SweepStore, driven: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(objects: LocalObjects, name: str, *_: object) -> None:
        raise StoreError(f"store {objects.uri}: cannot {'delete' if not _ else 'write'} {name}: it is read-only.")

    monkeypatch.setattr(LocalObjects, "create", refuse)
    monkeypatch.setattr(LocalObjects, "delete", refuse)
    code, said = run(tmp_path)
    assert code == 1
    assert "cannot write made/probe-" in said
    assert driven == []


def test_another_sweep_of_that_name_keeps_its_lease(
    sweep: SweepStore, driven: list[int | None], tmp_path: Path
) -> None:
    (tmp_path / "made.yaml").write_text(SPEC.replace("seeds: 2", "seeds: 3"))
    code, said = run(tmp_path)
    assert code == 2
    assert "with other runs" in said
    assert read_lease(sweep) is None


def test_status_names_who_holds_the_lease(sweep: SweepStore, tmp_path: Path) -> None:
    def status() -> str:
        return " ".join(here("status", "made", "--store", "store", cwd=tmp_path).stdout.split())

    assert "fence" not in status()
    with driver_lease(sweep, {"host": "head", "submission_id": "job-7"}):
        assert "lease job job-7 on head, since 20" in status()
        assert "fence 1" in status()
    assert "fence" not in status()
    sweep.objects.put(sweep.layout.lease, b"no lease")
    assert "made/lease.json: damaged" in status()


def test_a_submission_finds_who_renews_the_lease_and_nobody_after_that(
    sweep: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with driver_lease(sweep, {"host": "head", "submission_id": "job-7"}):
        assert (_driver_elsewhere(sweep, told.append) or "").startswith("job job-7 on head")
    assert len(told) == 1
    assert _driver_elsewhere(sweep, told.append) is None
    assert len(told) == 1


def test_cancel_asks_the_holder_and_waits_for_its_end(sweep: SweepStore, tmp_path: Path) -> None:
    stopping = threading.Event()

    def drive() -> None:
        with driver_lease(sweep, {"host": "head", "id": "driver-1"}):
            while sweep.asked_to_stop("driver-1") is None:
                assert not stopping.wait(0.05)

    driver = threading.Thread(target=drive)
    driver.start()
    wait_until(lambda: read_lease(sweep) is not None, "a driver")
    try:
        done = here("cancel", "made", "--store", "store", cwd=tmp_path)  # it has no heartbeat yet
    finally:
        stopping.set()
        driver.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0/2 runs finished; it has no job on a cluster; `grok-sweeps resume made` goes on" in done.stdout


def test_cancel_names_who_drives_on_after_the_wait(sweep: SweepStore, tmp_path: Path) -> None:
    with driver_lease(sweep, {"host": "head", "submission_id": "job-7", "id": "driver-1"}):
        done = here("cancel", "made", "--store", "store", "--wait", "0.2", cwd=tmp_path)
    assert done.returncode == 1
    assert "sweep 'made' is still driven after 0.2 s, by job job-7 on head" in done.stderr


def test_cancel_of_a_driver_that_was_killed_ends_at_once(sweep: SweepStore, tmp_path: Path) -> None:
    beat = {"sweep": "made", "state": "running", "heartbeat_at": datetime.now(UTC).isoformat(), "driver": {"id": "d"}}
    sweep.put_status({**beat, "fence": 1})
    program = "import os, sys; from grok_sweeps.store import *; from grok_sweeps.store.take_lease import take_lease; "
    program += "take_lease(SweepStore(open_objects('store'), 'made'), {'host': 'here', 'id': 'd'}); os._exit(9)"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert read_lease(sweep) is not None
    done = here("cancel", "made", "--store", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "made: interrupted, 0/2 runs finished" in done.stdout


def test_cancel_reaches_a_driver_without_a_lease_by_its_heartbeat(sweep: SweepStore, tmp_path: Path) -> None:
    with driver_lease(sweep, FAR):
        pass  # the lease of an earlier driver stands there
    beat = {"sweep": "made", "state": "running", "heartbeat_at": datetime.now(UTC).isoformat(), "driver": {"id": "d"}}
    sweep.put_status({**beat, "fence": None})
    done = here("cancel", "made", "--store", "store", "--wait", "0.2", cwd=tmp_path)
    assert sweep.asked_to_stop("d") is not None
    assert done.returncode == 1
    assert "by a driver without a lease" in done.stderr


def test_a_submission_joins_no_command_that_holds_the_lease_for_a_moment(
    sweep: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driver_lease(sweep, {"host": "head", "command": "gc --delete"}):
        assert _driver_elsewhere(sweep, lambda _: None) is None
    beat = {"sweep": "made", "state": "running", "heartbeat_at": datetime.now(UTC).isoformat(), "driver": {"id": "d"}}
    sweep.put_status({**beat, "fence": 1})
    assert _driver_elsewhere(sweep, lambda _: None) is None, "its lease was given back"
    monkeypatch.setattr(submit_module, "STALE_S", 2.0)
    monkeypatch.setattr(submit_module, "HEARTBEAT_S", 0.1)
    sweep.put_status({**beat, "fence": None})

    def beats() -> None:
        sweep.put_status({**beat, "fence": None, "heartbeat_at": datetime.now(UTC).isoformat()})

    told: list[str] = []
    assert _driver_elsewhere(sweep, lambda text: (told.append(text), beats())[0]) is not None, "it has no lease"
    assert len(told) == 1
