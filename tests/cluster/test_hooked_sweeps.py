"""Whole sweeps whose user's tools listen: what these hear is what is in the table, once."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from cluster_processes import WAIT_S, Sweeping, cli, wait_until
from prometheus_client.parser import text_string_to_metric_families
from s3_servers import free_ports
from test_failed_runs import poison
from tool_servers import MlflowServer, Received, by_key, read_wandb

from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import Store, open_store
from grok_sweeps.schema import CONFIG, OUTCOMES, READING_NAMES
from grok_sweeps.store import SweepStore, open_objects
from tests.faults.steps import CountedSteps

SmallPlan = Callable[..., tuple[str, Plan]]
PATIENT = (str(Path(__file__).with_name("patient_driver.py")),)


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Samples by name and labels beside the sweep; none where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return {}
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("sweep") == "watched"
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def test_metrics_are_scraped_while_a_sweep_runs_and_its_end_is_told(
    tmp_path: Path,
    small_plan: SmallPlan,
    webhook: Received,
    monkeypatch: pytest.MonkeyPatch,
    sweeping: Callable[..., Sweeping],
    steps: CountedSteps,
) -> None:
    port = next(free_ports(1))
    monkeypatch.setenv("MY_HOOK", webhook.url)
    execution = {"workers": 2, "lanes": 2, "pack_runs": 2, "webhook": "$MY_HOOK", "metrics_port": port}
    text, _ = small_plan("watched", execution, rho=[1.3], seeds=4, max_steps=4000, stop="budget")
    (tmp_path / "watched.yaml").write_text(text)
    seen: dict[tuple[str, ...], float] = {}

    def trains() -> bool:
        seen.update(scrape(port))
        return seen.get(("grok_sweeps_lanes_active",)) == 4 and seen[("grok_sweeps_run_steps_total",)] > 0

    with steps.slowed():
        sweep = sweeping("run", "watched.yaml", "--store", "store")
        wait_until(trains, "metrics of four lanes", sweep)
        sweep.process.send_signal(signal.SIGTERM)
        assert sweep.process.wait(timeout=WAIT_S) == 130
    assert seen[("grok_sweeps_runs_planned",)] == 4
    assert seen[("grok_sweeps_packs", "running")] == 2
    assert seen[("grok_sweeps_worker_losses_total",)] == 0
    assert seen[("grok_sweeps_heartbeat_timestamp_seconds",)] > 1.7e9
    assert {("grok_sweeps_runs", outcome) for outcome in OUTCOMES} <= seen.keys()
    assert scrape(port) == {}, "it listens no longer"
    (body,) = webhook.bodies
    assert (body["event"], body["state"], body["sweep"]) == ("interrupted", "interrupted", "watched")
    assert body["runs"] == 4
    assert body["store"] == str(tmp_path / "store")
    log = (tmp_path / "run.log").read_text()
    assert "SECRET" not in log + (tmp_path / "store/watched/status.json").read_text()

    done = cli("resume", "watched", "--store", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert webhook.events() == ["interrupted", "done"]
    outcomes = open_store(str(tmp_path / "store")).runs("watched").outcome.value_counts().to_dict()
    assert webhook.bodies[1]["outcomes"] == outcomes
    cli("resume", "watched", "--store", "store", cwd=tmp_path)
    assert webhook.events() == ["interrupted", "done"], "there was nothing to do"


@pytest.mark.slow
@pytest.mark.usefixtures("on_one_ray")
def test_trackers_hold_what_the_table_holds_once_and_after_a_resume_too(
    tmp_path: Path,
    small_plan: SmallPlan,
    mlflow_server: MlflowServer,
    webhook: Received,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    execution = {"workers": 2, "mlflow": mlflow_server.uri, "wandb": "grokking", "webhook": webhook.url}
    text, plan = small_plan("tracked", execution, rho=[1.0, 1.05], seeds=3)
    (tmp_path / "tracked.yaml").write_text(text)
    sweep_store = SweepStore(open_objects(str(tmp_path / "store")), "tracked")
    bad = plan.runs[2].run_id
    poison(sweep_store, bad)
    first = cli("run", "tracked.yaml", "--store", "store", cwd=tmp_path, program=PATIENT)
    assert first.returncode == 1
    assert webhook.events() == ["run_failed", "done"]
    assert bad in webhook.bodies[0]["errors"][0]
    assert webhook.bodies[1]["outcomes"] == {"grokked": 5, "failed": 1}
    assert webhook.bodies[1]["text"].startswith("grok-sweeps tracked: done, 6 of 6 runs (5 grokked, 1 failed): run ")
    store = open_store(str(tmp_path / "store"))
    compare_with_mlflow(store, mlflow_server)
    compare_with_wandb(store, tmp_path / "wandb")
    before = {run["info"]["run_id"] for run in mlflow_server.runs("tracked")}

    sweep_store.objects.delete(sweep_store.layout.state(bad, 1))
    healed = cli("resume", "tracked", "--failed", "--store", "store", cwd=tmp_path, program=PATIENT)
    assert healed.returncode == 0, healed.stderr
    assert set(store.runs("tracked").outcome) == {"grokked"}
    compare_with_mlflow(store, mlflow_server)
    compare_with_wandb(store, tmp_path / "wandb")
    after = {run["info"]["run_id"] for run in mlflow_server.runs("tracked")}
    assert len(before & after) == 5, "what was there is not logged again"
    assert webhook.events() == ["run_failed", "done", "done"]


@pytest.mark.usefixtures("on_one_ray")
def test_tools_that_are_down_cost_a_sweep_nothing_and_hear_of_it_later(
    tmp_path: Path, small_plan: SmallPlan, mlflow_server: MlflowServer
) -> None:
    closed = f"http://127.0.0.1:{next(free_ports(1))}/services/T-SECRET"
    execution = {"workers": 1, "webhook": closed, "mlflow": closed}
    text, _ = small_plan("apart", execution)
    (tmp_path / "apart.yaml").write_text(text)
    done = cli("run", "apart.yaml", "--store", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = [line for line in done.stdout.splitlines() if line.startswith(("webhook:", "mlflow:"))]
    assert sum(line.startswith("webhook:") for line in told) == 1
    assert any("`grok-sweeps resume apart` tries again" in line for line in told)
    assert "SECRET" not in done.stdout + (tmp_path / "store/apart/status.json").read_text()
    store = open_store(str(tmp_path / "store"))
    assert set(store.runs("apart").outcome) == {"grokked"}

    settings = ("--set", f"execution.mlflow={mlflow_server.uri}", "--set", "execution.webhook=null")
    again = cli("resume", "apart", *settings, "--store", "store", cwd=tmp_path, program=PATIENT)
    assert "nothing to do" in again.stdout
    compare_with_mlflow(store, mlflow_server, "apart")


def compare_with_mlflow(store: Store, server: MlflowServer, sweep: str = "tracked") -> None:
    rows = store.runs(sweep).set_index("run_id")
    curves = store.curves(sweep)
    logged = {by_key(run["data"]["tags"])["run_id"]: run for run in server.runs(sweep)}
    assert len(server.runs(sweep)) == len(rows), "none twice"
    assert logged.keys() == set(rows.index)
    for run_id, run in logged.items():
        row, curve = rows.loc[run_id], curves[curves.run_id == run_id]
        tags, params, metrics = (by_key(run["data"].get(k, [])) for k in ("tags", "params", "metrics"))
        assert (tags["sweep"], tags["cell_id"], tags["outcome"]) == (sweep, row.cell_id, row.outcome)
        used = {c.name: row[c.name] for c in CONFIG if not pd.isna(row[c.name])}
        assert params.keys() == used.keys()
        assert {name: type(used[name])(value) for name, value in params.items() if name != "gradient_compensation"} == {
            name: value for name, value in used.items() if name != "gradient_compensation"
        }
        assert metrics["steps_run"] == row.steps_run
        if row.outcome == "grokked":
            assert metrics["grokked_step"] == row.grokked_step
            assert metrics["logit_scale_at_grok"] == row.logit_scale_at_grok
        assert run["info"]["status"] == ("FAILED" if row.outcome == "failed" else "FINISHED")
        assert run["info"]["end_time"] == row.finished_at.value // 1_000_000
        for name in ("test_accuracy", "weight_norm"):
            assert server.history(run, name) == list(zip(curve.step, curve[name], strict=True)), name


def compare_with_wandb(store: Store, folder: Path) -> None:
    rows = store.runs("tracked").set_index("run_id")
    curves = store.curves("tracked")
    kept = [read_wandb(path) for path in folder.glob("offline-run-*/*.wandb")]
    assert sorted(run.run_id for run in kept) == sorted(f"tracked-{run_id}" for run_id in rows.index), "none twice"
    for run in kept:
        row = rows.loc[run.config["run_id"]]
        curve = curves[curves.run_id == run.config["run_id"]]
        assert run.project == "grokking"
        assert (run.config["rho"], run.config["seed"], run.config["lr"]) == (row.rho, row.seed, row.lr)
        assert run.summary["outcome"] == row.outcome
        assert run.summary["steps_run"] == row.steps_run
        assert run.exit_code == (row.outcome == "failed")
        assert [point["_step"] for point in run.history] == curve.step.tolist()
        present = [name for name in READING_NAMES if curve[name].notna().all()]
        for name in present if len(curve) else ():
            assert [point[name] for point in run.history] == curve[name].tolist(), name
