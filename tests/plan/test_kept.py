"""What final states a sweep keeps: the choice, and a forecast that agrees with the bytes that are then there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.kept import kept_bytes
from grok_sweeps.provenance import provenance
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.checkpoints import kept_steps
from grok_sweeps.store.retention import bytes_by_kind
from grok_sweeps.store.rows import RowLog
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from tests.published import published

HOW: dict[str, Any] = {"device": "cpu", "engine": "eager", "threads": 1, "checkpoint_every_s": 1e9, "git_sha": None}
SPEC = """
name: kept
runs: {p: 11, d_model: 8, hidden: 16, seeds: 2, max_steps: 60}
blocks:
  - {arm: free}
  - {arm: free, stop: budget, dtype: float64}
  - {arm: fork, rho: 0.9, fork: {of: control, at_step: 20}}
"""


def trained(folder: Path, plan: Plan, keep: str, longer: int = 0) -> SweepStore:
    """The sweep as its workers leave it, stage by stage in this process, in packs of equal shape."""
    store = SweepStore(open_objects(str(folder)), "kept")
    for stage in range(plan.n_stages):
        for dtype in ("float32", "float64"):
            runs = [run for run in plan.stage(stage) if run.config.dtype == dtype]
            work, _ = published(store, plan, "pack", runs, longer or None, lanes=4, keep_states=keep, **HOW)
            engine = choose_engine("eager", torch.device("cpu"))
            trainer = PackTrainer(store, work, f"{stage}-{dtype}-{longer}", engine, provenance(None))
            while not trainer.advance(1.0).done:
                pass
    return store


@pytest.mark.parametrize("keep", ["all", "needed", "forks"])
def test_the_states_of_a_choice_are_kept_and_their_bytes_foreseen(keep: str, tmp_path: Path) -> None:
    plan = make_plan(parse_spec(SPEC))
    parents = set(plan.parents.values())
    store = trained(tmp_path, plan, keep)
    log = RowLog(store)
    log.refresh()
    assert {row["outcome"] for row in log.rows.values()} == {"censored"}
    extendable = {run.run_id for run in plan.runs if run.config.stop != "budget"}
    expected = {"all": plan.run_ids(), "needed": extendable | parents, "forks": parents}[keep]
    assert set(kept_steps(store)) == expected
    assert len(expected) == {"all": 8, "needed": 6, "forks": 2}[keep]

    foreseen, most = kept_bytes(plan, [run.config.max_steps for run in plan.runs], keep)
    assert foreseen == most == pytest.approx(bytes_by_kind(store)["states"], rel=0.05)
    foreseen, most = kept_bytes(plan, [1] * len(plan.runs), keep)
    assert foreseen == 0 < most, "no run spends its budget"


def test_a_longer_budget_trains_a_run_whose_state_was_not_kept_to_the_same_numbers(tmp_path: Path) -> None:
    plan = make_plan(parse_spec("name: kept\nruns: {p: 11, d_model: 8, hidden: 16, seeds: 2, max_steps: 60}\n"))
    found = []
    for keep in ("all", "forks"):
        trained(tmp_path / keep, plan, keep)
        store = trained(tmp_path / keep, plan, keep, longer=120)
        log = RowLog(store)
        log.refresh()
        found.append({run_id: (row["steps_run"], row["final_state_sha256"]) for run_id, row in log.rows.items()})
        assert set(kept_steps(store)) == (plan.run_ids() if keep == "all" else set())
    assert found[0] == found[1]
    assert {steps for steps, _ in found[0].values()} == {120}
