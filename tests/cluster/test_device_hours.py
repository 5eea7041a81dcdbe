"""Device-hours are counted over drivers, and a budget of them stops a sweep in good order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster_processes import cli, here, wait_until

from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.journal import Journal, driver_identity
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.cluster.views import panel, plain_line
from grok_sweeps.plan.finished_runs import FinishedRuns
from grok_sweeps.plan.plan import Plan
from grok_sweeps.progress import measure_progress
from grok_sweeps.results import open_store
from grok_sweeps.store import SweepStore, open_objects
from tests.faults.steps import CountedSteps
from tests.monitors import monitor_of

SmallPlan = Callable[..., tuple[str, Plan]]


@dataclass
class Clock:
    """Seconds that pass when told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_gpu_hours_are_packs_times_their_share_times_time() -> None:
    clock = Clock()
    hours = DeviceHours({"CPU": 1.0, "GPU": 0.5}, clock=clock)
    clock.now = 3600
    hours.hold(4)
    clock.now = 3 * 3600
    hours.hold(1)
    clock.now = 4 * 3600
    hours.hold(0)
    clock.now = 9 * 3600
    assert hours.to_status() == {
        "gpu_hours": 4 * 0.5 * 2 + 0.5,
        "core_hours": 0.0,
        "hours_of": "gpu",
        "max_device_hours": None,
    }


def test_cores_are_counted_where_packs_hold_no_gpu() -> None:
    clock = Clock()
    hours = DeviceHours({"CPU": 3.0}, most=7.0, clock=clock)
    hours.hold(2)
    clock.now = 3600
    assert hours.over() is None
    assert hours.to_status() == {"gpu_hours": 0.0, "core_hours": 6.0, "hours_of": "core", "max_device_hours": 7.0}
    clock.now = 2 * 3600
    assert hours.over() == "the budget of 7 core-hours is spent; resume with a larger --max-gpu-hours"


def test_a_driver_goes_on_from_what_the_last_heartbeat_says() -> None:
    clock = Clock()
    killed = DeviceHours({"GPU": 1.0}, clock=clock)
    killed.hold(2)
    clock.now = 1800
    heartbeat = killed.to_status()
    on_cores = DeviceHours({"CPU": 1.0}, clock=clock)
    on_cores.go_on_from(heartbeat)
    on_cores.hold(1)
    clock.now = 3600
    last = DeviceHours({"GPU": 1.0}, most=1.0, clock=clock)
    last.go_on_from(on_cores.to_status())
    assert last.to_status() == {"gpu_hours": 1.0, "core_hours": 0.5, "hours_of": "gpu", "max_device_hours": 1.0}
    assert last.over() == "the budget of 1 GPU-hours is spent; resume with a larger --max-gpu-hours"


@pytest.mark.parametrize("status", [None, {}, {"state": "running"}])
def test_a_sweep_of_an_older_version_begins_at_nothing(status: dict[str, Any] | None) -> None:
    hours = DeviceHours({"GPU": 1.0}, most=1.0)
    hours.go_on_from(status)
    assert hours.over() is None


def test_a_spent_budget_asks_for_a_stop_once(sweep_store: SweepStore, small_plan: SmallPlan) -> None:
    clock, stopped, said = Clock(), StopOnSignal(), list[str]()
    hours = DeviceHours({"GPU": 1.0}, most=4.0, clock=clock)
    journal = Journal(sweep_store, driver_identity(), said.append)
    monitor = monitor_of(sweep_store, small_plan()[1], None, hours, stopped, journal)
    hours.hold(2)
    clock.now += 3600
    hours.hold(1)
    clock.now += 3600
    assert hours.to_status()["gpu_hours"] == 3.0
    monitor.check_budget()
    assert not stopped.is_set()
    clock.now += 3600
    monitor.check_budget()
    monitor.check_budget()
    assert stopped.reason == "the budget of 4 GPU-hours is spent; resume with a larger --max-gpu-hours"
    assert said == [f"stopping: {stopped.reason}"]


def test_the_next_driver_of_one_that_was_killed_goes_on_from_its_last_heartbeat(
    sweep_store: SweepStore, small_plan: SmallPlan
) -> None:
    clock, stopped = Clock(), StopOnSignal()
    _, plan = small_plan()
    hours = DeviceHours({"GPU": 1.0}, clock=clock)
    killed = monitor_of(sweep_store, plan, hours=hours)
    killed.start()
    hours.hold(1)
    clock.now = 7200
    wait_until(lambda: (sweep_store.load_status() or {}).get("gpu_hours") == 2.0, "a heartbeat")
    most = DeviceHours({"GPU": 1.0}, most=2.0, clock=clock)
    following = monitor_of(sweep_store, plan, hours=most, stopped=stopped)
    following.start()
    wait_until(stopped.is_set, "the budget is seen to be spent")
    killed.finish("running")
    following.finish("interrupted")
    status = sweep_store.load_status()
    assert status is not None
    assert (status["gpu_hours"], status["reason"]) == (2.0, stopped.reason)


def test_status_says_what_was_used_of_how_much_and_what_it_comes_to(small_plan: SmallPlan) -> None:
    _, plan = small_plan(rho=[1.0, 1.1], tau=[1.0, 1.5])
    from test_terminal import NOW, rows, status, text_of

    at_work = status(gpu_hours=1.5, core_hours=9.0, hours_of="gpu", max_device_hours=3.0, run_steps_under_way=0)
    progress = measure_progress("small", FinishedRuns(plan, rows(plan, 4)), at_work, NOW)
    assert progress.spent is not None
    assert progress.spent.expected == pytest.approx(1.5 * progress.run_steps_expected / progress.run_steps_done)
    text = text_of(panel(progress))
    assert f"1.50 of 3; about {progress.spent.expected:.2f} in all" in text
    assert "finished cells" in text
    reason = "the budget of 3 GPU-hours is spent"
    stopped = measure_progress("small", FinishedRuns(plan), {**at_work, "state": "interrupted", "reason": reason}, NOW)
    assert reason in text_of(panel(stopped))
    assert plain_line(stopped).endswith(reason)
    assert stopped.spent is not None
    assert stopped.spent.expected is None


@pytest.mark.slow
@pytest.mark.usefixtures("on_one_ray")
def test_a_spent_budget_stops_the_sweep_and_a_larger_one_finishes_it_with_the_same_rows(
    tmp_path: Path, small_plan: SmallPlan, steps: CountedSteps
) -> None:
    execution = {"workers": 2, "lanes": 2, "pack_runs": 2}
    text, plan = small_plan("dear", execution, rho=[1.1], seeds=4, max_steps=4000, stop="budget")
    (tmp_path / "dear.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "dear")
    limit = ("--store", "store", "--max-gpu-hours")

    with steps.slowed():
        stopped = cli("run", "dear.yaml", *limit, "0.001", cwd=tmp_path)
    assert stopped.returncode == 3, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "the budget of 0.001 core-hours is spent; resume with a larger --max-gpu-hours" in stopped.stderr
    status = store.load_status()
    assert status is not None
    assert status["state"] == "interrupted"
    first = status["core_hours"]
    assert first >= 0.001
    shown = here("status", "dear", "--store", "store", cwd=tmp_path).stdout
    assert "of 0.001" in shown
    assert "budget of 0.001 core-hours is spent" in shown

    again = cli("resume", "dear", *limit, "0.001", cwd=tmp_path)
    assert again.returncode == 3
    assert "stage 0" not in again.stdout, "no pack is begun"

    done = cli("resume", "dear", *limit, "100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (store.load_status() or {})["core_hours"] > first
    undisturbed = cli("run", "dear.yaml", "--store", "other", cwd=tmp_path)
    assert undisturbed.returncode == 0
    columns = ["outcome", "grokked_step", "steps_run", "final_state_sha256"]
    one, two = (open_store(str(tmp_path / name)).runs("dear").set_index("run_id") for name in ("store", "other"))
    assert len(one) == len(plan.runs)
    assert one[columns].sort_index().equals(two[columns].sort_index())
