"""Forks and longer budgets through the command line: stages, a parent of another sweep, censored runs trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_processes import cli, here

from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import open_store

pytestmark = pytest.mark.usefixtures("on_one_ray")
SmallPlan = Callable[..., tuple[str, Plan]]
FORK = "{of: control, at_step: 60}"


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(text)


def test_same_state_arms_and_then_a_fork_of_one_of_them(tmp_path: Path, small_plan: SmallPlan) -> None:
    text, _ = small_plan("arms", max_steps=1500)
    own = [line for line in text.splitlines() if not line.startswith(("  arm:", "  w_c:", "  clamp_from_step:"))]
    blocks = [f"  fork: {FORK}", "blocks: [{arm: free}, {arm: fork, rho: [0.9, 1.0]}]", ""]
    write(tmp_path, "arms", "\n".join([*own, *blocks]))
    done = cli("run", "arms.yaml", "--store", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    store = open_store(str(tmp_path / "store"))
    runs = store.runs("arms").set_index("run_id")
    assert len(runs) == 2 + 3 * 2
    parents = runs[runs.fork_of.isna()]
    assert parents.steps_run.tolist() == [60, 60]
    for run_id, arm in runs[runs.fork_of.notna()].iterrows():
        parent = parents.loc[arm.fork_of]
        assert arm.seed == parent.seed
        assert arm.fork_state_sha256 == parent.final_state_sha256, run_id
        assert arm.delay == arm.grokked_step - 60
    held = runs[runs.arm == "fork"]
    assert held.weight_norm_at_grok.tolist() == pytest.approx((held.rho * held.fork_norm).tolist(), rel=1e-6)
    cells = store.cells("arms")
    assert cells[cells.fork_step == 60].n_runs.tolist() == [2, 2, 2], "seeds share a cell though their parents differ"

    reference = f"arms/{held.index[0]}"
    write(tmp_path, "later", f"name: later\nruns: {{tau: 1.5, fork: {{of: {reference}, at_step: 100}}}}\n")
    shown = here("plan", "later.yaml", "--store", "store", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "3 (2 parents of forks added)" in shown.stdout
    assert cli("run", "later.yaml", "--store", "store", cwd=tmp_path).returncode == 0
    later = store.runs("later")
    (last,) = later[later.fork_step == 100].itertuples()
    assert (last.tau, last.seed, last.rho) == (1.5, held.iloc[0].seed, held.iloc[0].rho)
    assert len(later) == 3, "the parent's own parent comes along"
    analysed = here("analyze", "arms", "--store", "store", cwd=tmp_path)
    assert analysed.returncode == 0, analysed.stderr


def test_resume_with_a_longer_budget_trains_the_censored_runs_on(tmp_path: Path, small_plan: SmallPlan) -> None:
    text, _ = small_plan("short", max_steps=150, rho=[0.9, 1.0], stop="grokked+50")
    write(tmp_path, "short", text)
    assert cli("run", "short.yaml", "--store", "store", cwd=tmp_path).returncode == 0
    store = open_store(str(tmp_path / "store"))
    assert set(store.runs("short").outcome) == {"censored"}
    assert "nothing to do" in cli("resume", "short", "--store", "store", cwd=tmp_path).stdout

    more = cli("resume", "short", "--max-steps", "3000", "--store", "store", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    runs = store.runs("short")
    assert len(runs) == 4
    assert set(runs.outcome) == {"grokked"}
    assert (runs.steps_run == runs.grokked_step + 50).all()
    assert not list((tmp_path / "store" / "short" / "states").glob("*.safetensors"))
    curves = store.curves("short")
    assert not curves.duplicated(["run_id", "step"]).any()
    assert set(curves.groupby("run_id").step.min()) == {1}, "one curve from the first step to the last"
    again = cli("resume", "short", "--max-steps", "3000", "--store", "store", cwd=tmp_path)
    assert "nothing to do" in again.stdout
