"""Two drivers, or a worker that nobody waits for any more, on one sweep: no row is lost and none counts twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from cluster_processes import WAIT_S, Sweeping, cli, kill, wait_until

from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import open_store
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.lease import read_lease
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.train.work import pack_content, planned_work
from tests.faults.steps import CountedSteps

SmallPlan = Callable[..., tuple[str, Plan]]
READING_STEPS = 25
NUMBERS = ["outcome", "memorized_step", "grokked_step", "final_state_sha256"]


def in_store(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / "store" / "shared" / kind).rglob("*.*"))


def written_by_workers(folder: Path) -> list[tuple[str, str]]:
    """The attempt and the number of each write of rows or states."""
    files = in_store(folder, "rows") + in_store(folder, "checkpoints")
    return [(file.stem.split("-")[-2], file.stem.split("-")[-1]) for file in files if not file.name.startswith(".")]


def steps_needed(folder: Path) -> int:
    return int(open_store(str(folder / "store")).runs("shared").steps_run.sum())


def test_the_second_of_two_runs_names_the_first_and_trains_nothing(
    tmp_path: Path, small_plan: SmallPlan, sweeping: Callable[..., Sweeping], steps: CountedSteps
) -> None:
    text, plan = small_plan("shared", {"workers": 2, "pack_runs": 2, "checkpoint_every_s": 0.2}, rho=[1.1], seeds=8)
    (tmp_path / "shared.yaml").write_text(text)
    command = ("run", "shared.yaml", "--store", "store")
    with steps.slowed(0.2):
        first = sweeping(*command)
        wait_until(steps.total, "the first trains", first)
        second = cli(*command, cwd=tmp_path)
        assert first.process.poll() is None, "it drives all the while"
    assert second.returncode == 1
    (error,) = [line for line in second.stderr.splitlines() if line.startswith("error: ")]
    assert f"sweep 'shared' is driven by a driver, pid {first.process.pid}, on " in error
    assert "Traceback" not in second.stdout + second.stderr
    assert first.process.wait(timeout=WAIT_S) == 0, (tmp_path / "run.log").read_text()
    assert sorted(open_store(str(tmp_path / "store")).runs("shared").run_id) == sorted(plan.run_ids())
    assert steps.total() == steps_needed(tmp_path)


def test_a_stopped_driver_that_was_replaced_ends_when_it_wakes_up_and_its_workers_write_nothing_more(
    tmp_path: Path,
    small_plan: SmallPlan,
    sweeping: Callable[..., Sweeping],
    steps: CountedSteps,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GROK_SWEEPS_LEASE_S", "5")
    workers, lanes, rest_s = 2, 2, 0.2
    how = {"workers": workers, "lanes": lanes, "pack_runs": 4, "checkpoint_every_s": 0.2}
    text, plan = small_plan("shared", how, rho=[1.1], seeds=16)
    (tmp_path / "shared.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "shared")

    def drives(command: Sweeping) -> bool:
        lease = read_lease(store)
        return lease is not None and lease.process["pid"] == command.process.pid

    with steps.slowed(rest_s):
        first = sweeping("run", "shared.yaml", "--store", "store")
        wait_until(steps.total, "the first trains", first)
        os.kill(first.process.pid, signal.SIGSTOP)
        second = sweeping("run", "shared.yaml", "--store", "store")
        wait_until(lambda: drives(second), "the second has the lease", second)
        by_first, written = set(steps.by_process()), set(written_by_workers(tmp_path))
        wait_until(
            lambda: any(n for name, n in steps.by_process().items() if name not in by_first),
            "the second trains",
            second,
        )
        os.kill(first.process.pid, signal.SIGCONT)
        assert first.process.wait(timeout=WAIT_S) == 1
        assert written
        attempts = {attempt for attempt, _ in written}
        assert not [one for one in written_by_workers(tmp_path) if one[0] in attempts and one not in written]
    assert second.process.wait(timeout=WAIT_S) == 0, (tmp_path / "run.log").read_text()
    said = (tmp_path / "run.log").read_text()
    assert f"the lease was taken over by a driver, pid {second.process.pid}, on " in said
    assert "Traceback" not in said
    assert sorted(open_store(str(tmp_path / "store")).runs("shared").run_id) == sorted(plan.run_ids())
    one_lease = workers * lanes * READING_STEPS * 5 / rest_s
    assert steps_needed(tmp_path) <= steps.total() <= steps_needed(tmp_path) + one_lease
    assert (store.load_status() or {})["fence"] == 2


@pytest.mark.slow
def test_two_drivers_that_no_lease_keeps_apart_finish_a_sweep_with_one_row_a_run(
    tmp_path: Path, small_plan: SmallPlan, sweeping: Callable[..., Sweeping]
) -> None:
    text, plan = small_plan(
        "shared", {"workers": 1, "pack_runs": 2, "checkpoint_every_s": 0.2}, rho=[1.0, 1.1], seeds=4
    )
    (tmp_path / "shared.yaml").write_text(text)
    meeting = (str(Path(__file__).with_name("meeting_driver.py")),)
    command = ("run", "shared.yaml", "--store", "store", "--no-lease")
    both = [sweeping(*command, program=meeting) for _ in range(2)]
    for driver in both:
        assert driver.process.wait(timeout=2 * WAIT_S) == 0, (tmp_path / "run.log").read_text()
    assert "Traceback" not in (tmp_path / "run.log").read_text()
    runs = open_store(str(tmp_path / "store")).runs("shared")
    assert sorted(runs.run_id) == sorted(plan.run_ids())
    curves = open_store(str(tmp_path / "store")).curves("shared")
    assert not curves.duplicated(["run_id", "step"]).any()
    assert not in_store(tmp_path, "checkpoints")
    alone = cli("run", "shared.yaml", "--store", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    undisturbed = open_store(str(tmp_path / "alone")).runs("shared").set_index("run_id")
    assert runs.set_index("run_id")[NUMBERS].sort_index().equals(undisturbed[NUMBERS].sort_index())


@pytest.mark.slow
def test_a_second_driver_trains_nothing_and_takes_over_from_one_that_is_stopped(
    tmp_path: Path, small_plan: SmallPlan, sweeping: Callable[..., Sweeping]
) -> None:
    """The first driver, on waking, ends by itself and leaves the status to the second."""
    text, plan = small_plan(
        "shared", {"workers": 1, "pack_runs": 4, "checkpoint_every_s": 0.2}, rho=[1.0, 1.1], seeds=60
    )
    (tmp_path / "shared.yaml").write_text(text)
    first = sweeping("run", "shared.yaml", "--store", "store")
    wait_until(lambda: in_store(tmp_path, "rows"), "a row")
    second = cli("run", "shared.yaml", "--store", "store", cwd=tmp_path)
    assert second.returncode == 1
    assert f"sweep 'shared' is driven by a driver, pid {first.process.pid}," in second.stderr
    os.kill(first.process.pid, signal.SIGSTOP)
    done = cli("run", "shared.yaml", "--store", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.process.wait(WAIT_S) == 1
    assert "the lease was taken over by" in (tmp_path / "run.log").read_text()
    store = SweepStore(open_objects(str(tmp_path / "store")), "shared")
    status, lease = store.load_status(), read_lease(store)
    assert status is not None
    assert lease is not None
    assert (lease.fence, lease.released) == (2, True)
    assert (status["state"], status["fence"]) == ("finished", 2)
    runs = open_store(str(tmp_path / "store")).runs("shared")
    assert sorted(runs.run_id) == sorted(plan.run_ids())


@pytest.mark.slow
def test_a_worker_that_comes_back_after_its_sweep_was_finished_changes_nothing(
    tmp_path: Path, small_plan: SmallPlan
) -> None:
    text, plan = small_plan("shared", {"workers": 2, "pack_runs": 2}, rho=[1.1, 1.2], seeds=3)
    (tmp_path / "shared.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "shared")
    store.create(text, plan)
    how = {"lanes": 1, "device": "cpu", "engine": "auto", "threads": 1, "checkpoint_every_s": 0.1, "git_sha": None}
    store.put_pack("given-up", pack_content([planned_work(run, plan) for run in plan.runs], **how))
    script = [sys.executable, str(Path(__file__).with_name("old_worker.py"))]
    old = subprocess.Popen([*script, str(tmp_path / "store"), "shared", "given-up", "old"])
    try:
        wait_until(lambda: in_store(tmp_path, "checkpoints"), "a state of the old worker")
        os.kill(old.pid, signal.SIGSTOP)
        assert StateIndex(store).load_newest(plan.run_ids())
        done = cli("run", "shared.yaml", "--store", "store", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        before = open_store(str(tmp_path / "store")).runs("shared").set_index("run_id")
        assert sorted(before.index) == sorted(plan.run_ids())
        files = len(in_store(tmp_path, "rows"))

        os.kill(old.pid, signal.SIGCONT)
        assert old.wait(timeout=WAIT_S) == 0
    finally:
        if old.poll() is None:
            kill([psutil.Process(old.pid)])
    assert len(in_store(tmp_path, "rows")) > files, "the old worker has written rows of its own"
    after = open_store(str(tmp_path / "store")).runs("shared").set_index("run_id")
    assert after.index.is_unique
    assert after[NUMBERS].sort_index().equals(before[NUMBERS].sort_index())
    assert not in_store(tmp_path, "checkpoints")
    assert "nothing to do" in cli("run", "shared.yaml", "--store", "store", cwd=tmp_path).stdout
