"""A whole sweep through the command line, in processes of its own: two stages, status, query, analysis, again."""

from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from cluster_processes import WAIT_S, Sweeping, cli, here, wait_until

from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import open_store
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.state_index import StateIndex
from tests.faults.steps import CountedSteps

SmallPlan = Callable[..., tuple[str, Plan]]


def written(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_sweep_with_a_control_stage_from_spec_to_report(tmp_path: Path, small_plan: SmallPlan) -> None:
    text, plan = small_plan("whole", w_c="control", rho=[0.95, 1.0, 1.05], tau=[1.0, 1.4], seeds=3)
    (tmp_path / "whole.yaml").write_text(text)

    shown = here("plan", "whole.yaml", cwd=tmp_path)
    assert shown.returncode == 0
    assert re.search(r"runs\W+21 \(3 control runs added\)", shown.stdout)
    assert list(written(tmp_path)) == ["whole.yaml"], "plan writes nothing"

    done = cli("run", "whole.yaml", "--store", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "21/21 runs" in done.stdout
    assert "w_c = " in done.stdout

    runs = open_store(str(tmp_path / "store")).runs("whole")
    assert sorted(runs.run_id) == sorted(plan.run_ids())
    assert set(runs.outcome) == {"grokked"}
    control, dose = runs[runs.arm == "free"], runs[runs.arm == "clamp"]
    assert dose.w_c.tolist() == [control.weight_norm_at_grok.median()] * 18
    assert dose.held_norm.tolist() == pytest.approx((dose.rho * dose.w_c).tolist())
    assert dose.weight_norm_at_grok.tolist() == pytest.approx(dose.held_norm.tolist(), rel=1e-6)
    assert dose.started_at.min() >= control.finished_at.max(), "dose runs wait for their control"
    assert control.w_c.isna().all()
    for column in ("version", "torch", "ray", "host", "attempt", "device"):
        assert runs[column].notna().all()

    before = written(tmp_path / "store")
    for command in (("run", "whole.yaml"), ("resume", "whole")):
        again = cli(*command, "--store", "store", cwd=tmp_path)
        assert again.returncode == 0
        assert "nothing to do" in again.stdout
    after = written(tmp_path / "store")
    of_the_driver = ("whole/status.json", "whole/lease.json")
    assert {k: v for k, v in after.items() if k not in of_the_driver} == {
        k: v for k, v in before.items() if k not in of_the_driver
    }

    status = here("status", "whole", "--store", "store", cwd=tmp_path)
    assert "whole · finished" in status.stdout
    assert "21 of 21 runs" in status.stdout
    assert "whole: finished, 21/21 runs, 21 grokked" in here("status", "--store", "store", cwd=tmp_path).stdout

    sql = "SELECT rho, tau, median(grokked_step) AS step FROM runs WHERE arm = 'clamp' GROUP BY ALL ORDER BY ALL"
    as_csv = here("query", sql, "--store", "store", "--format", "csv", cwd=tmp_path).stdout
    as_json = here("query", sql, "--store", "store", "--format", "json", cwd=tmp_path).stdout
    expected = dose.groupby(["rho", "tau"]).grokked_step.median()
    assert pd.read_csv(io.StringIO(as_csv)).step.tolist() == expected.tolist()
    assert [row["step"] for row in json.loads(as_json)] == expected.tolist()

    analysed = here("analyze", "whole", "--store", "store", "--resamples", "200", cwd=tmp_path)
    assert analysed.returncode == 0, analysed.stderr
    folder = tmp_path / "store" / "whole" / "analysis"
    report = (folder / "report.html").read_text()
    assert str(folder / "report.html") in analysed.stdout
    assert not re.search(r'(src|href)="https?:', report)
    json.loads((folder / "estimates.json").read_text())
    for figure in ("heatmap", "collapse", "accuracy"):
        assert (folder / "figures" / f"{figure}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "signum",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), pytest.param(signal.SIGTERM, marks=pytest.mark.quick)],
)
def test_a_request_to_stop_writes_the_states_and_the_sweep_goes_on_from_them(
    signum: signal.Signals,
    tmp_path: Path,
    small_plan: SmallPlan,
    sweeping: Callable[..., Sweeping],
    steps: CountedSteps,
) -> None:
    execution = {"workers": 2, "lanes": 2, "pack_runs": 2}
    text, plan = small_plan("stopped", execution, rho=[1.3], seeds=4, max_steps=4000, stop="budget")
    (tmp_path / "stopped.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "stopped")
    with steps.slowed():
        sweep = sweeping("run", "stopped.yaml", "--store", "store")
        wait_until(lambda: (store.load_status() or {}).get("lanes_active") == 4, "a report of every lane", sweep)
        sweep.process.send_signal(signum)
        assert sweep.process.wait(timeout=WAIT_S) == 130
    log = (tmp_path / "run.log").read_text()
    assert "run the same command again to go on" in log
    assert "Traceback" not in log
    states = StateIndex(store).load_newest(plan.run_ids())
    assert states.keys() == plan.run_ids(), "every lane's state was written on the way out"
    assert all(state.step > 0 for state in states.values())
    status = store.load_status()
    assert status is not None
    assert status["state"] == "interrupted"
    assert cli("resume", "stopped", "--store", "store", cwd=tmp_path).returncode == 0
    assert len(open_store(str(tmp_path / "store")).runs("stopped")) == len(plan.runs)


def test_a_control_that_does_not_grok_stops_the_sweep_with_its_reason(tmp_path: Path, small_plan: SmallPlan) -> None:
    text, _ = small_plan("blocked", w_c="control", max_steps=50)
    (tmp_path / "blocked.yaml").write_text(text)
    stopped = cli("run", "blocked.yaml", "--store", "store", cwd=tmp_path)
    assert stopped.returncode == 1
    errors = [line for line in stopped.stderr.splitlines() if line]
    assert len(errors) == 1
    assert errors[0].startswith("error: w_c: control")
    assert "resume --max-steps" in errors[0]
    runs = open_store(str(tmp_path / "store")).runs("blocked")
    assert set(runs.outcome) == {"censored"}
    assert not (tmp_path / "store" / "blocked" / "calibration.json").exists()


def test_another_spec_under_the_same_name_is_refused_and_changes_nothing(tmp_path: Path, small_plan: SmallPlan) -> None:
    text, plan = small_plan("taken")
    SweepStore(open_objects(str(tmp_path / "store")), "taken").create(text, plan)
    before = written(tmp_path / "store")
    (tmp_path / "taken.yaml").write_text(small_plan("taken", tau=2.0)[0])
    refused = cli("run", "taken.yaml", "--store", "store", cwd=tmp_path)
    assert refused.returncode == 2
    assert re.fullmatch(r"error: name: sweep 'taken' is already in .* another name.*\n", refused.stderr)
    assert written(tmp_path / "store") == before


def test_plan_for_a_cluster_prints_what_is_known_of_its_cost(tmp_path: Path, small_plan: SmallPlan) -> None:
    (tmp_path / "dear.yaml").write_text(small_plan("dear", rho=[1.0, 1.3], seeds=3)[0])

    def planned(*options: str) -> str:
        done = here("plan", "dear.yaml", "--store", "store", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    cores = planned("--cluster", "4xcpu", "--price", "0.04", "--set", "execution.pack_runs=1")
    assert re.search(r"packs\W+6 on 4 cpu workers", cores)
    assert re.search(r"core-hours\W+about [\d.e-]+, at 83 GFLOP/s a worker", cores)
    assert re.search(r"time\W+about .* on 4 cores", cores)
    assert "for the core-hours" in cores
    gpus = planned("--cluster", "8xH100", "--price", "2.5")
    assert re.search(r"GPU-hours\W+not known: no rate measured on H100 yet; --step-rate gives one", gpus)
    assert "$" not in gpus
    assert "as given" in planned("--cluster", "8xH100", "--step-rate", "5000")
    assert not (tmp_path / "store").exists(), "plan writes nothing"
    wrong = here("plan", "dear.yaml", "--cluster", "8H100", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: --cluster: '8H100' is not a number of devices and their kind")
