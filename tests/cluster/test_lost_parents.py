"""States of forks' parents that are lost while a sweep is driven: the parents are trained again, then the forks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grok_sweeps.cluster.remaining import Remaining
from grok_sweeps.cluster.stage_order import MOST_TIMES_AGAIN
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.states import LaneState, encode_states
from tests.trained_here import TrainedHere, driven

Forks = tuple[str, Plan]

SPEC = """
name: forks
runs: {p: 11, d_model: 8, hidden: 16, arm: fork, rho: [0.9, 1.0], seeds: 2, max_steps: 75,
       fork: {of: control, at_step: 50}}
"""


@pytest.fixture
def forks() -> Forks:
    """Two forks each of two parents."""
    return SPEC, make_plan(parse_spec(SPEC))


@pytest.mark.parametrize("loss", ["damaged", "deleted"])
def test_a_parent_whose_state_is_lost_is_trained_again_and_then_its_forks(
    loss: str, forks: Forks, tmp_path: Any
) -> None:
    text, plan = forks
    broken, whole = dict.fromkeys(plan.parents.values())
    hurt: list[str] = []

    def lose(store: SweepStore, stage: int) -> None:
        if stage and not hurt:
            name = store.layout.state(broken, 50)
            hurt.append(name)
            data = store.objects.get(name)
            assert data is not None
            store.objects.delete(name)
            if loss == "damaged":
                store.objects.put(name, data[:-100] + bytes(64) + data[-36:])

    report, view = driven(text, plan, str(tmp_path / "hurt"), lose)
    assert (report.state, report.errors) == ("finished", ())
    own = [run_id for run_id, parent in plan.parents.items() if parent == broken]
    assert TrainedHere.last.stages == [[broken, whole], [*plan.parents], [broken], own]
    said = [call.args[0] for call in view.event.call_args_list]
    assert "1 run is trained again: states that forks start from are lost" in said

    driven(text, plan, str(tmp_path / "whole"))
    found, expected = (rows(str(tmp_path / name)) for name in ("hurt", "whole"))
    assert found == expected


def test_a_state_that_is_lost_however_often_it_is_made_ends_the_sweep_and_is_named(forks: Forks, tmp_path: Any) -> None:
    text, plan = forks
    broken, whole = dict.fromkeys(plan.parents.values())

    def lose(store: SweepStore, stage: int) -> None:
        if stage:
            store.objects.delete(store.layout.state(broken, 50))

    report, _ = driven(text, plan, str(tmp_path / "store"), lose)
    assert report.state == "failed"
    (error,) = report.errors
    assert error.startswith(f"forks/states/{broken}@50.safetensors: still damaged or missing after")
    assert TrainedHere.last.stages.count([broken]) == MOST_TIMES_AGAIN
    finished = rows(str(tmp_path / "store"))
    assert set(finished) == {broken, whole, *(r for r, parent in plan.parents.items() if parent == whole)}


@pytest.mark.parametrize("keep", ["all", "forks"])
def test_a_longer_budget_says_which_runs_begin_again_since_their_states_were_not_kept(keep: str, tmp_path: Any) -> None:
    text = "name: forks\nruns: {p: 11, d_model: 8, hidden: 16, seeds: 2, max_steps: 75}\n"
    plan = make_plan(parse_spec(text))
    store = SweepStore(open_objects(str(tmp_path)), "forks")
    driven(text, plan, str(tmp_path))
    if keep == "forks":
        for run in plan.runs:
            store.objects.delete(store.layout.state(run.run_id, 75))
    report, view = driven(text, plan, str(tmp_path), extend_to=100)
    assert report.state == "finished"
    said = [call.args[0] for call in view.event.call_args_list if "first step" in call.args[0]]
    assert (
        said
        == [
            "2 of 2 censored runs are trained again from the first step: final states were not kept "
            "(execution.keep_states) or are lost"
        ][: keep == "forks"]
    )
    assert {found[:2] for found in rows(str(tmp_path)).values()} == {("censored", 100)}


def rows(uri: str) -> dict[str, tuple[Any, ...]]:
    """What the rows say of the training, by run."""
    log = RowLog(SweepStore(open_objects(uri), "forks"))
    log.refresh()
    names = ("outcome", "steps_run", "final_state_sha256", "fork_of", "fork_state_sha256")
    return {run_id: tuple(row[name] for name in names) for run_id, row in log.rows.items()}


@pytest.mark.parametrize("again", [True, False])
def test_a_run_that_is_trained_again_keeps_the_checkpoint_of_its_new_training(
    again: bool, forks: Forks, tmp_path: Path
) -> None:
    text, plan = forks
    driven(text, plan, str(tmp_path))
    store = SweepStore(open_objects(str(tmp_path)), "forks")
    run = plan.runs[0]
    name = store.layout.checkpoint("pack", "again", 1)
    store.objects.put(name, encode_states([LaneState(run.run_id, 25, {"weights": np.zeros(1, np.float32)})]))
    log = RowLog(store)
    log.refresh()
    if again:
        store.objects.delete(store.layout.state(run.run_id, run.config.max_steps))
    Remaining(store, plan, log).delete_finished()
    assert (store.objects.get(name) is not None) is again
