"""A tool that is slow, refuses or never answers costs a sweep nothing; what it hears is whole, and holds no secret."""

from __future__ import annotations

import contextlib
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest
from cluster_processes import WAIT_S, cli, wait_until
from s3_servers import free_ports
from test_hooked_sweeps import SmallPlan
from tool_servers import MlflowServer, Received, by_key, read_wandb

import grok_sweeps.cluster.hooks.hooks
from grok_sweeps.cluster.hooks import Hooks, open_hooks
from grok_sweeps.cluster.hooks.hook import Begin, Ending
from grok_sweeps.cluster.hooks.hook_thread import HookThread
from grok_sweeps.cluster.hooks.metrics import Metrics
from grok_sweeps.cluster.hooks.redact import redacted
from grok_sweeps.cluster.hooks.tracker_process import TrackerProcess
from grok_sweeps.cluster.hooks.webhook import Webhook
from grok_sweeps.errors import SpecError
from grok_sweeps.progress import Progress, Spent
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from tests.results.results_rows import curve, full_row, grokked, new_sweep
from tests.written import write_results

BEGIN = Begin("made", "/store", failed_before=0)
PROGRESS = Progress("made", "running", 4, {"grokked": 2}, (), (), 700, 1400)
ENDING = Ending("finished", PROGRESS, (), 1.5, idle=False)


def never_waits(_seconds: float) -> bool:
    return False


def hooks_of(told: list[str], **targets: str) -> Hooks:
    """Hooks of a driver that has just begun; what they say goes to `told`."""
    hooks = Hooks(targets)
    hooks.begin(told.append, {}, "/store", "made")
    return hooks


@pytest.mark.parametrize(
    ("statuses", "tries", "fails"), [([500, 429, 200], 3, False), ([503, 503, 503], 3, True), ([404], 1, True)]
)
def test_a_webhook_tries_again_where_that_may_help(
    statuses: list[int], tries: int, fails: bool, webhook: Received
) -> None:
    webhook.statuses = list(statuses)
    hook = Webhook(webhook.url, BEGIN, never_waits)
    if fails:
        with pytest.raises(urllib.error.HTTPError):
            hook.ended(ENDING)
    else:
        hook.ended(ENDING)
    assert webhook.events() == ["done"] * tries


def test_a_webhook_is_told_of_the_first_failed_run_of_this_driver_only(webhook: Received) -> None:
    hook = Webhook(webhook.url, replace(BEGIN, failed_before=1), never_waits)
    one_more = replace(PROGRESS, outcomes={"grokked": 1, "failed": 2}, first_error="run 0a: no more room")
    for progress in (replace(PROGRESS, outcomes={"failed": 1}), one_more, one_more):
        hook.progress(progress)
    (body,) = webhook.bodies
    assert body["event"] == "run_failed"
    assert body["state"] == "running"
    assert body["errors"] == ["run 0a: no more room"]
    hook.ended(Ending("failed", one_more, ("no room", "no time"), 2.0, idle=False))
    assert webhook.bodies[1]["event"] == "failed"
    assert webhook.bodies[1]["errors"] == ["no room", "no time"]
    assert webhook.bodies[1]["text"].endswith("(1 grokked, 2 failed): no room")
    assert webhook.bodies[1]["seconds"] == 2.0


def test_user_and_password_of_a_webhook_go_into_a_header(webhook: Received) -> None:
    Webhook(webhook.url.replace("http://", "http://me:p%40ss@"), BEGIN).ended(ENDING)
    assert webhook.headers[0]["authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"


def test_tools_that_never_answer_are_left_alone_at_the_end(webhook: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grok_sweeps.cluster.hooks.hooks, "FLUSH_S", 0.5)
    webhook.hold = threading.Event()
    told = list[str]()
    hooks = hooks_of(told, webhook=webhook.url, mlflow=webhook.url)
    wait_until(lambda: children("grok_sweeps.cluster.hooks"), "a process for MLflow")
    (process,) = children("grok_sweeps.cluster.hooks")
    hooks.end("finished", PROGRESS, [], idle=False)
    assert not webhook.hold.is_set(), "it is over while the server holds the request"
    process.wait(WAIT_S)
    assert sorted(told)[0].startswith("mlflow: not done 0.5 s after the sweep's end, and left alone; a resume")
    assert sorted(told)[1].startswith("webhook: not done 0.5 s after the sweep's end")
    assert "SECRET" not in "".join(told)


def test_a_hook_that_is_slow_hears_the_newest_and_one_that_raises_says_so_once() -> None:
    hook, goes_on, busy, told = Mock(), threading.Event(), threading.Event(), list[str]()
    heard: list[int] = []

    def slow(progress: Progress) -> None:
        heard.append(progress.runs)
        busy.set()
        goes_on.wait(WAIT_S)
        raise OSError("no route to http://h/SECRET")

    hook.progress.side_effect = slow
    thread = HookThread("tool", lambda: hook, "http://h/SECRET", told.append)
    thread.progress(replace(PROGRESS, runs=1))
    assert busy.wait(WAIT_S)
    for runs in range(2, 100):
        thread.progress(replace(PROGRESS, runs=runs))
    goes_on.set()
    wait_until(lambda: len(heard) == 2, "the next call")
    thread.ended(ENDING)
    assert thread.wait(WAIT_S)
    assert heard == [1, 99]
    hook.ended.assert_called_once_with(ENDING)
    assert told == ["tool: OSError: no route to …; the sweep does without"]


def test_a_port_that_is_taken_is_tried_again_and_a_counter_never_falls() -> None:
    port, told = next(free_ports(1)), list[str]()
    first, second = Metrics(str(port), told.append), Metrics(f"127.0.0.1:{port}", told.append)
    first.progress(PROGRESS)
    with pytest.raises(OSError, match=f"port {port} of 127.0.0.1: "):
        second.progress(PROGRESS)
    first.ended(ENDING)
    for done in (700, 650):
        second.progress(replace(PROGRESS, run_steps_done=done, spent=Spent("GPU-hours", 1.25, None, None)))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WAIT_S) as answer:
        text = answer.read().decode()
    second.ended(ENDING)
    assert 'grok_sweeps_run_steps_total{sweep="made"} 700.0' in text
    assert 'grok_sweeps_device_hours{sweep="made"} 1.25' in text
    assert 'grok_sweeps_runs{outcome="grokked",sweep="made"} 2.0' in text
    assert told == [f"metrics: http://127.0.0.1:{port}/metrics"] * 2


@pytest.mark.parametrize("tool", ["mlflow", "wandb"])
def test_a_tracker_replaces_a_row_that_went_on_and_a_run_that_was_cut_off(
    tool: str, tmp_path: Path, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    name = "went-on"
    sweep = new_sweep(tmp_path / "store", name)
    write(sweep, 1, full_row("a", sweep=name, steps_run=50), grokked("b", 150, sweep=name, steps_run=150))

    def kept() -> dict[str, tuple[str, list[int], str]]:
        """Outcome, steps of the curve and the tool's own id, by run_id; each run is there once."""
        if tool == "wandb":
            runs = [(path, read_wandb(path)) for path in (tmp_path / "wandb").glob("offline-run-*/*.wandb")]
            assert len({run.run_id for _, run in runs}) == len(runs)
            return {
                r.config["run_id"]: (r.summary["outcome"], [p["_step"] for p in r.history], str(path.stat().st_mtime))
                for path, r in runs
            }
        found = mlflow_server.runs(name)
        tags = [by_key(run["data"]["tags"]) for run in found]
        assert len({t["run_id"] for t in tags}) == len(found)
        return {
            t["run_id"]: (t["outcome"], [s for s, _ in mlflow_server.history(r, "test_loss")], r["info"]["run_id"])
            for t, r in zip(tags, found, strict=True)
        }

    log(tool, sweep, mlflow_server.uri)
    first = kept()
    assert {run_id: run[:2] for run_id, run in first.items()} == {
        "a": ("censored", [25, 50]),
        "b": ("grokked", [25, 50, 75, 100, 125, 150]),
    }
    write(sweep, 2, grokked("a", 175, sweep=name, steps_run=175), attempt="a2")
    if tool == "mlflow":
        experiment = mlflow_server.experiment(name)
        cut_off = [{"key": "run_id", "value": "c"}, {"key": "outcome", "value": "grokked"}]
        mlflow_server.ask("runs/create", {"experiment_id": experiment, "tags": cut_off})
    else:
        cut = tmp_path / "wandb" / f"offline-run-20260101_000000-{name}-c"
        cut.mkdir()
        (cut / "run.wandb").write_bytes(b":W&B")
    write(sweep, 3, grokked("c", 100, sweep=name, steps_run=100))
    log(tool, sweep, mlflow_server.uri)
    second = kept()
    assert {run_id: run[:2] for run_id, run in second.items()} == {
        "a": ("grokked", [25, 50, 75, 100, 125, 150, 175]),
        "b": ("grokked", [25, 50, 75, 100, 125, 150]),
        "c": ("grokked", [25, 50, 75, 100]),
    }
    assert second["b"][2] == first["b"][2], "it was whole and is let be"


def test_what_a_hook_needs_is_asked_for_before_anything_is_done(
    tmp_path: Path, small_plan: SmallPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_HOOK", raising=False)
    text, _ = small_plan("refused", {"webhook": "$MY_HOOK"})
    (tmp_path / "refused.yaml").write_text(text)
    refused = cli("run", "refused.yaml", "--store", "store", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: execution.webhook: the environment variable MY_HOOK is not set where the driver runs; set it, or do "
        "without: --set execution.webhook=null.\n"
    )
    assert not (tmp_path / "store").exists()
    for key, value, allowed in (
        ("webhook", "ftp://SECRET", "an http:// or https:// URL"),
        ("metrics_port", "SECRET", "a port, or HOST:PORT"),
    ):
        monkeypatch.setenv("MY_HOOK", value)
        with pytest.raises(SpecError, match=rf"execution\.{key}: the value of \$MY_HOOK: is not {allowed}") as raised:
            open_hooks(Execution(**{key: "$MY_HOOK"}))
        assert "SECRET" not in str(raised.value)
    monkeypatch.setenv("MY_HOOK", "9400")
    open_hooks(Execution(metrics_port="$MY_HOOK"))


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> ModuleSpec | None:
        return None if name == package else ModuleSpec(name, None)

    monkeypatch.setattr(grok_sweeps.cluster.hooks.hooks, "find_spec", found)
    with pytest.raises(SpecError) as raised:
        open_hooks(Execution(**{package: "there"}))
    assert str(raised.value) == (
        f"execution.{package}: the package {package} is not installed; pip install 'grok-sweeps[{package}]'."
    )
    open_hooks(Execution())


@pytest.mark.parametrize(
    ("target", "text", "shown"),
    [
        ("https://hooks.slack.com/services/T0/B1/key", "POST /services/T0/B1/key at slack", "POST … at slack"),
        ("http://me:p%40ss@h:5000", "http://me:p%40ss@h:5000/api said p@ss", "…/api said …"),
        ("postgresql://me:word@db/runs", "no role me with word in runs", "no role me with … in runs"),
        ("grokking", "no project grokking", "no project grokking"),
    ],
)  # fmt: skip
def test_the_secret_parts_of_an_address_are_taken_out(target: str, text: str, shown: str) -> None:
    assert redacted(text, target) == shown


def children(doing: str) -> list[psutil.Process]:
    """The processes below this one that run a module; one that ends meanwhile is none of them."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if doing in process.cmdline():
                found.append(process)
    return found


def write(sweep: SweepStore, number: int, *rows: dict[str, Any], attempt: str = "a1") -> None:
    """Put rows with their curves into the store, a reading every 25 steps."""
    curves = [curve(r["run_id"], range(25, r["steps_run"] + 1, 25), attempt, sweep.sweep) for r in rows]
    write_results(sweep, "pack", attempt, number, [{**r, "attempt": attempt} for r in rows], curves)


def log(tool: str, sweep: SweepStore, uri: str) -> None:
    """Bring a tracker up to date, as a driver does that finds the sweep finished."""
    told = list[str]()
    target = uri if tool == "mlflow" else "grokking"
    TrackerProcess(tool, target, Begin(sweep.sweep, sweep.objects.uri, 0), told.append).ended(ENDING)
    assert told == []
