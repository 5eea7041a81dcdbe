"""SIGKILL at random moments: nothing finished is lost or repeated, and the numbers do not change."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from cluster_processes import WAIT_S, Sweeping, cli, kill, wait_until
from held_driver import HOLDS

from grok_sweeps.arms import Reference
from grok_sweeps.plan.plan import Plan
from grok_sweeps.provenance import provenance
from grok_sweeps.results import open_store
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork, RunWork
from tests.faults.steps import CountedSteps

RUNS = 48
AXES = {"rho": [1.0, 1.1, 1.2], "tau": [1.0, 1.3], "seeds": 8}


def undisturbed(plan: Plan, store: SweepStore) -> dict[str, dict[str, Any]]:
    """Rows of the same runs, trained in one go in this process."""
    runs = tuple(RunWork(r.run_id, r.cell_id, r.config, r.config.max_steps, Reference(r.config.w_c)) for r in plan.runs)
    work = PackWork("whole", runs, lanes=1, checkpoint_every_s=1e9)
    trainer = PackTrainer(store, work, "whole", choose_engine("auto", torch.device("cpu")), provenance(None))
    while not trainer.advance(1.0).done:
        pass
    return finished(store)


def finished(store: SweepStore) -> dict[str, dict[str, Any]]:
    log = RowLog(store)
    log.refresh()
    return log.rows


def states(store: SweepStore) -> set[str]:
    return {info.name for info in store.objects.list(store.layout.checkpoints) if info.name.endswith(".safetensors")}


def wait_for_work(store: SweepStore, sweep: Sweeping) -> None:
    """Until this attempt has written a checkpoint or a row."""
    seen, n_rows = states(store), len(finished(store))
    wait_until(
        lambda: states(store) - seen or len(finished(store)) > n_rows, "a checkpoint or a row of this attempt", sweep
    )


def step_in_store(store: SweepStore, run_id: str) -> int:
    """The step of a run's newest state."""
    found = StateIndex(store).load_newest([run_id])
    return found[run_id].step if run_id in found else 0


def under_way_past(store: SweepStore, step: int) -> bool:
    """Whether the one run under way is past a step."""
    return (store.load_status() or {}).get("run_steps_under_way", 0) > step


def check_against_undisturbed(folder: Path, store: SweepStore, plan: Plan) -> None:
    """Every run has one row, with the numbers that it has without kills."""
    table = open_store(str(folder / "store")).runs("killed")
    assert sorted(table["run_id"]) == sorted(plan.run_ids())
    expected = undisturbed(plan, SweepStore(open_objects(str(folder / "reference")), "killed"))
    for run_id, row in finished(store).items():
        assert row["outcome"] == expected[run_id]["outcome"]
        assert row["grokked_step"] == expected[run_id]["grokked_step"]
        assert row["final_state_sha256"] == expected[run_id]["final_state_sha256"]


def kill_a_worker(sweep: Sweeping) -> None:
    workers = sweep.workers()
    assert workers, "a worker to kill"
    kill(workers[:1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "kills"), [("worker", 2), ("driver", 2), ("everything", 2)], ids=["worker", "driver", "everything"]
)
def test_a_kill_at_a_random_moment_loses_and_repeats_nothing(
    victim: str,
    kills: int,
    tmp_path: Path,
    sweeping: Callable[..., Sweeping],
    small_plan: Callable[..., tuple[str, Plan]],
    steps: CountedSteps,
) -> None:
    moment = random.Random(f"{victim}")
    text, plan = small_plan("killed", {"checkpoint_every_s": 0.2, "workers": 2, "pack_runs": 3}, **AXES)
    assert len(plan.runs) == RUNS
    (tmp_path / "killed.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "killed")
    command = ("run", "killed.yaml", "--store", "store")

    left_behind: list[psutil.Process] = []
    with steps.slowed(0.01):  # short: a kill is to meet steps and writes too, not rests alone
        sweep = sweeping(*command)
        for _ in range(kills):
            wait_for_work(store, sweep)
            time.sleep(moment.uniform(0, 0.4))  # the random moment itself, not a wait for something
            assert sweep.process.poll() is None, "killed while under way"
            if victim == "worker":
                kill_a_worker(sweep)
            elif victim == "driver":
                left_behind += sweep.kill_driver()
            else:
                sweep.kill_everything()
            if victim != "worker":
                sweep = sweeping(*command)
    assert sweep.process.wait(timeout=2 * WAIT_S) == 0, (tmp_path / "run.log").read_text()

    check_against_undisturbed(tmp_path, store, plan)
    assert not psutil.wait_procs(left_behind, timeout=WAIT_S)[1], "a killed driver leaves no process behind"
    log = (tmp_path / "run.log").read_text()
    assert log.count("lost its worker") >= kills if victim == "worker" else log.count("stage 0: ") == kills + 1
    assert not states(store), "a finished sweep keeps no checkpoints"

    rows_before = {info.name for info in store.objects.list(store.layout.rows)}
    again = cli(*command, cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert {info.name for info in store.objects.list(store.layout.rows)} == rows_before


def held(folder: Path, k: int) -> psutil.Process | None:
    """The worker number k that stands still for this test, once it does."""
    file = folder / f"held-{k}"
    pid = file.read_text() if file.exists() else ""
    return psutil.Process(int(pid)) if pid else None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["reset_config", "setup"], ids=["between two packs", "at its start"])
def test_workers_killed_when_no_trial_of_theirs_runs_cost_nothing(
    method: str,
    tmp_path: Path,
    sweeping: Callable[..., Sweeping],
    small_plan: Callable[..., tuple[str, Plan]],
) -> None:
    text, plan = small_plan("killed", {"workers": 2, "pack_runs": 2, "max_failures": 2}, rho=[1.0, 1.1], seeds=6)
    (tmp_path / "killed.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "killed")
    program = (str(Path(__file__).with_name("held_driver.py")), method)
    sweep = sweeping("run", "killed.yaml", "--store", "store", program=program)
    for k in range(HOLDS):
        wait_until(lambda k=k: held(tmp_path, k), f"worker {k} that stands still in {method}", sweep)
        worker = held(tmp_path, k)
        assert worker is not None
        kill([worker])
    assert sweep.process.wait(timeout=2 * WAIT_S) == 0, (tmp_path / "run.log").read_text()
    check_against_undisturbed(tmp_path, store, plan)
    assert (tmp_path / "run.log").read_text().count("lost its worker") == HOLDS


@pytest.mark.slow
def test_a_preempted_worker_writes_its_states_and_any_number_of_preemptions_is_borne(
    tmp_path: Path,
    sweeping: Callable[..., Sweeping],
    small_plan: Callable[..., tuple[str, Plan]],
    steps: CountedSteps,
) -> None:
    execution = {"workers": 1, "max_failures": 0, "checkpoint_every_s": 86_400}
    text, plan = small_plan("killed", execution, rho=[1.3], seeds=1, max_steps=10_000, stop="budget")
    (tmp_path / "killed.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "killed")
    (run,) = plan.runs
    with steps.slowed():
        sweep = sweeping("run", "killed.yaml", "--store", "store")
        for _ in range(2):
            reached = step_in_store(store, run.run_id)
            wait_until(partial(under_way_past, store, reached), "steps past the state", sweep)
            for worker in sweep.workers():
                worker.terminate()
            wait_until(lambda past=reached: step_in_store(store, run.run_id) > past, "a newer state", sweep)
    assert sweep.process.wait(timeout=2 * WAIT_S) == 0, (tmp_path / "run.log").read_text()
    assert finished(store)[run.run_id]["steps_run"] == 10_000
    assert (tmp_path / "run.log").read_text().count("lost its worker") == 2
