"""A run that raises ends alone as `failed`; the others finish, and `resume --failed` trains it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cluster_processes import cli, here

from grok_sweeps.plan import make_plan
from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import open_store
from grok_sweeps.schema import READING_NAMES, RUN_COLUMNS
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.checkpoints import LaneState, keep_state

pytestmark = pytest.mark.usefixtures("on_one_ray")
SmallPlan = Callable[..., tuple[str, Plan]]


def poison(store: SweepStore, run_id: str, step: int = 1) -> None:
    """Keep a whole state of a run that no worker can train on: it is another network's."""
    tensors = {name: np.zeros(7, dtype=np.float32) for name in ("weights", "m", "v")}
    history = {"reading_steps": np.zeros(0, dtype=np.int64), "readings": np.zeros((0, len(READING_NAMES)))}
    facts = {
        "started_at": "2026-01-01T00:00:00+00:00",
        "wall_s": 0.0,
        "memorized_step": None,
        "readings": list(READING_NAMES),
    }
    keep_state(store, LaneState(run_id, step, {**tensors, **history}, facts))


def errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line]


def test_a_run_that_raises_fails_alone_and_is_trained_again_on_request(tmp_path: Path, small_plan: SmallPlan) -> None:
    text, plan = small_plan("partly", {"workers": 2, "pack_runs": 8, "lanes": 2}, rho=[1.0, 1.05], seeds=4)
    (tmp_path / "partly.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "partly")
    bad = plan.runs[5]
    poison(store, bad.run_id)

    done = cli("run", "partly.yaml", "--store", "store", cwd=tmp_path)
    assert done.returncode == 1
    (error,) = errors(done.stderr)
    assert error.startswith(f"error: sweep 'partly': 1 of 8 runs failed, the first: run {bad.run_id}: ")
    assert "`grok-sweeps resume partly --failed` trains them again" in error
    assert "Traceback" not in done.stdout + done.stderr
    runs = open_store(str(tmp_path / "store")).runs("partly").set_index("run_id")
    assert sorted(runs.index) == sorted(plan.run_ids())
    assert runs.outcome.drop(bad.run_id).tolist() == ["grokked"] * 7
    row = runs.loc[bad.run_id]
    assert row.outcome == "failed"
    assert row.error in error
    assert "\n" not in row.error
    for column in RUN_COLUMNS:
        if not column.null and column.name != "run_id":
            assert not pd.isna(row[column.name]), column.name
        if column.name.endswith("_at_grok"):
            assert pd.isna(row[column.name]), column.name

    for view in (("status", "partly"), ("status",)):
        shown = here(*view, "--store", "store", cwd=tmp_path).stdout
        assert "7 grokked" in shown
        assert "1 failed" in shown
    assert row.error[:40] in here("status", "partly", "--store", "store", cwd=tmp_path).stdout

    again = cli("resume", "partly", "--store", "store", cwd=tmp_path)
    assert again.returncode == 1
    assert "nothing to do" in again.stdout
    assert errors(again.stderr) == [error]

    store.objects.delete(store.layout.state(bad.run_id, 1))
    healed = cli("resume", "partly", "--failed", "--store", "store", cwd=tmp_path)
    assert healed.returncode == 0, healed.stderr
    assert "1 failed run is trained again" in healed.stdout
    after = open_store(str(tmp_path / "store")).runs("partly").set_index("run_id")
    assert set(after.outcome) == {"grokked"}
    assert after.drop(bad.run_id).attempt.to_dict() == runs.drop(bad.run_id).attempt.to_dict(), "the others stay"


@pytest.mark.parametrize("kind", ["parent", "control"])
def test_what_waits_for_a_failed_run_is_named(kind: str, tmp_path: Path, small_plan: SmallPlan) -> None:
    if kind == "parent":
        lines = small_plan("waits")[0].splitlines()
        own = [line for line in lines if not line.startswith(("  arm:", "  w_c:", "  clamp_from_step:"))]
        text = "\n".join([*own, "  fork: {of: control, at_step: 60}", ""])
    else:
        text, _ = small_plan("waits", w_c="control", rho=[1.0, 1.1], seeds=2)
    (tmp_path / "waits.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "waits")
    plan = make_plan(parse_spec(text))
    first = plan.stage(0)[0]
    poison(store, first.run_id)
    stopped = cli("run", "waits.yaml", "--store", "store", cwd=tmp_path)
    assert stopped.returncode == 1
    said = errors(stopped.stderr)
    if kind == "parent":
        assert f"1 forks of run {first.run_id} cannot start, since it failed" in said[-1]
        assert len(open_store(str(tmp_path / "store")).runs("waits")) == 3, "the other fork is trained"
    else:
        assert "grokked in 1 of 2 runs" in said[-1]
        assert "4 runs wait for it" in said[-1]
        assert "1 failed" in said[-1]
        assert "`resume --failed`" in said[-1]
    store.objects.delete(store.layout.state(first.run_id, 1))
    healed = cli("resume", "waits", "--failed", "--store", "store", cwd=tmp_path)
    assert healed.returncode == 0, healed.stderr
    assert len(open_store(str(tmp_path / "store")).runs("waits")) == len(plan.runs)


def test_workers_that_die_before_their_first_step_say_why_and_are_tried_twice(
    tmp_path: Path, small_plan: SmallPlan
) -> None:
    (tmp_path / "dying.yaml").write_text(small_plan("dying", {"workers": 1, "pack_runs": 1}, seeds=3)[0])
    program = (str(Path(__file__).with_name("dying_driver.py")),)
    done = cli("run", "dying.yaml", "--store", "store", cwd=tmp_path, program=program)
    assert done.returncode == 1
    assert "no worker comes up, 2 were tried" in done.stderr
    assert "libnothing.so: undefined symbol: nothing" in done.stderr
    assert done.stdout.count("lost its worker") == 2
    assert "Traceback" not in done.stdout + done.stderr
