"""What people see: the panel, the plain line, and the machine's share of a plan."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from grok_sweeps.cluster.cli.status import Reader
from grok_sweeps.cluster.resources import choose_resources
from grok_sweeps.cluster.settings import Machine
from grok_sweeps.cluster.views import PlainView, duration, panel, plain_line
from grok_sweeps.config import RunConfig
from grok_sweeps.errors import SpecError
from grok_sweeps.plan.finished_runs import FinishedRuns
from grok_sweeps.plan.plan import Plan
from grok_sweeps.progress import measure_progress
from grok_sweeps.schema import CURVES_SCHEMA
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from tests.results.results_rows import grokked
from tests.written import write_results

SmallPlan = Callable[..., tuple[str, Plan]]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status(**changes: Any) -> dict[str, Any]:
    return {
        "state": "running",
        "heartbeat_at": (NOW - timedelta(seconds=3)).isoformat(),
        "packs": {"pending": 1, "running": 2, "done": 0, "failed": 0},
        "steps_per_s": 400.0,
        "lanes_active": 2,
        "run_steps_under_way": 100,
        "events": ["12:00:00 stage 0: 8 runs in 3 packs"],
        **changes,
    }


def rows(plan: Plan, n: int) -> dict[str, dict[str, Any]]:
    row = {"outcome": "grokked", "grokked_step": 500, "steps_run": 500, "finished_at": NOW}
    return {r.run_id: dict(row) for r in plan.runs[:n]}


def text_of(renderable: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(renderable)
    return out.getvalue()


def test_the_panel_shows_stages_packs_outcomes_rate_grid_and_events(small_plan: SmallPlan) -> None:
    _, plan = small_plan(rho=[1.0, 1.1], tau=[1.0, 1.5])
    text = text_of(panel(measure_progress("small", FinishedRuns(plan, rows(plan, 3)), status(), NOW)))
    for part in ("small · running", "3 of 8 runs", "3 grokked", "stage 0", "1 pending, 2 running", "400 run-steps/s"):
        assert part in text
    assert "12:00:00 stage 0" in text
    grid = {line.split()[1]: line.split()[2:4] for line in text.splitlines() if "/2" in line}
    assert grid == {"1": ["2/2", "1/2"], "1.1": ["0/2", "0/2"]}


def test_a_lost_driver_is_said_and_what_to_do(small_plan: SmallPlan) -> None:
    _, plan = small_plan()
    old = status(heartbeat_at=(NOW - timedelta(minutes=5)).isoformat())
    progress = measure_progress("small", FinishedRuns(plan), old, NOW)
    assert progress.state == "interrupted"
    assert progress.eta_s is None
    assert "last heard of 5 min 00 s ago; run the sweep again to go on" in text_of(panel(progress))


def test_a_finished_sweep_that_has_lost_rows_is_not_called_finished(small_plan: SmallPlan) -> None:
    _, plan = small_plan(seeds=4)
    progress = measure_progress(
        "small", FinishedRuns(plan, rows(plan, 2)), status(state="finished", steps_per_s=0.0), NOW
    )
    line = "small: interrupted, 2/4 runs, 2 grokked, the last driver had finished, but 2 runs have no row now; "
    assert plain_line(progress) == f"{line}resume trains them"
    whole = measure_progress("small", FinishedRuns(plan, rows(plan, 4)), status(state="finished", steps_per_s=0.0), NOW)
    assert plain_line(whole) == "small: finished, 4/4 runs, 4 grokked"


def test_a_driver_that_finishes_while_its_sweep_is_read_is_not_called_interrupted(
    sweep_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = sweep_store.load_plan()
    assert plan is not None
    reader = Reader(sweep_store)
    refresh = reader._log.refresh
    sweep_store.put_status(status(heartbeat_at=datetime.now(UTC).isoformat()))

    def driver_ends() -> None:  # while its rows are read
        ended = [grokked(run.run_id, 500) for run in plan.runs]
        write_results(sweep_store, "pack", "a1", 1, ended, [CURVES_SCHEMA.empty_table()])
        sweep_store.put_status(status(state="finished"))
        refresh()

    monkeypatch.setattr(reader._log, "refresh", driver_ends)
    assert reader.read().state == "finished"


def test_the_plain_line_and_durations(small_plan: SmallPlan) -> None:
    _, plan = small_plan()
    line = plain_line(measure_progress("small", FinishedRuns(plan, rows(plan, 1)), status(), NOW))
    assert line.startswith("small: running, 1/2 runs, 1 grokked, 400 run-steps/s, ")
    assert [duration(s) for s in (None, 0.4, 61, 7322)] == ["—", "0 s", "1 min 01 s", "2 h 02 min"]


def test_a_plain_view_prints_events_whole(small_plan: SmallPlan) -> None:
    out = io.StringIO()
    with PlainView(Console(file=out, width=40)) as view:
        view.event("pack [bold]abc[/bold] " + "x" * 80)
    assert out.getvalue() == "pack [bold]abc[/bold] " + "x" * 80 + "\n"


def test_resources_fit_the_machine_unless_the_spec_says_otherwise(small_config: Callable[..., RunConfig]) -> None:
    auto = choose_resources(Execution(), Machine(cpus=6, gpus=0))
    assert (auto.workers, auto.lanes, auto.device, auto.bundle) == (6, None, "cpu", {"CPU": 1.0})
    gpu = choose_resources(Execution(), Machine(cpus=6, gpus=2))
    assert (gpu.workers, gpu.device, gpu.bundle) == (2, "cuda", {"CPU": 1.0, "GPU": 1.0})
    fixed = choose_resources(Execution(workers=3, lanes=12, pack_runs=40, device="cpu"), Machine(cpus=6, gpus=2))
    assert (fixed.workers, fixed.lanes, fixed.pack_runs, fixed.device) == (3, 12, 40, "cpu")
    paper, tiny = (small_config(**size) for size in ({"p": 59, "d_model": 128, "hidden": 256}, {}))
    assert gpu.lanes_of(paper) > auto.lanes_of(tiny) > auto.lanes_of(paper) >= 1
    assert fixed.lanes_of(tiny) == fixed.lanes_of(paper) == 12
    with pytest.raises(SpecError, match="no CUDA device; use auto or cpu"):
        choose_resources(Execution(device="cuda"), Machine(cpus=6, gpus=0))
