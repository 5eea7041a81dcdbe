"""States of forks' parents that are lost while a sweep is driven: the parents are trained again, then the forks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import pytest
import torch

import grok_sweeps.cluster.driver
from grok_sweeps.cluster.driver import MOST_TIMES_AGAIN, RunReport, run_sweep
from grok_sweeps.plan import Plan, PlannedRun, make_plan
from grok_sweeps.provenance import provenance
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.todo import horizon
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import load_work, pack_content

Forks = tuple[str, Plan]
HOW: dict[str, Any] = {"device": "cpu", "engine": "eager", "threads": 1, "checkpoint_every_s": 1e9, "git_sha": None}


class TrainedHere:
    """A `PackRunner` without Ray: one pack a stage, in this process; `before` hears of each stage first."""

    errors: Sequence[str] = ()
    before: Callable[[SweepStore, int], None]

    def __init__(self, store: SweepStore, plan: Plan, *_: Any) -> None:
        self._store, self._plan = store, plan
        self.stages: list[list[str]] = []
        TrainedHere.last = self

    last: TrainedHere

    def run_stage(self, stage: int, runs: Sequence[PlannedRun], left: Any, extend_to: int | None = None) -> int:
        if not runs:
            return 0
        TrainedHere.before(self._store, stage)
        self.stages.append([run.run_id for run in runs])
        horizons = {run.run_id: horizon(run.config, extend_to) for run in runs}
        self._store.put_pack("pack", pack_content(runs, self._plan.parents, horizons, lanes=4, **HOW))
        work, _ = load_work(self._store, "pack")
        engine = choose_engine("eager", torch.device("cpu"))
        trainer = PackTrainer(self._store, work, secrets.token_hex(4), engine, provenance(None))
        while not trainer.advance(1.0).done:
            pass
        return 1


SPEC = """
name: forks
runs: {p: 11, d_model: 8, hidden: 16, arm: fork, rho: [0.9, 1.0], seeds: 2, max_steps: 75,
       fork: {of: control, at_step: 50}}
"""


@pytest.fixture
def forks() -> Forks:
    """Two forks each of two parents."""
    return SPEC, make_plan(parse_spec(SPEC))


def driven(text: str, plan: Plan, uri: str, before: Callable[[SweepStore, int], None]) -> tuple[RunReport, Mock]:
    """Drive the sweep to its end; what was said."""
    TrainedHere.before = staticmethod(before)
    view = Mock()
    store = SweepStore(open_objects(uri), "forks")
    return run_sweep(store, text, plan, parse_spec(text).execution, Mock(), view), view


@pytest.fixture(autouse=True)
def _trained_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grok_sweeps.cluster.driver, "PackRunner", TrainedHere)


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
    assert "1 runs are trained again: the states that forks start from are lost" in said

    driven(text, plan, str(tmp_path / "whole"), lambda *_: None)
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
    assert error.startswith(f"forks/states/{broken}@50.safetensors: damaged or missing however often it is made")
    assert TrainedHere.last.stages.count([broken]) == MOST_TIMES_AGAIN
    finished = rows(str(tmp_path / "store"))
    assert set(finished) == {broken, whole, *(r for r, parent in plan.parents.items() if parent == whole)}


@pytest.mark.parametrize("keep", ["all", "forks"])
def test_a_longer_budget_says_which_runs_begin_again_since_their_states_were_not_kept(keep: str, tmp_path: Any) -> None:
    text = "name: forks\nruns: {p: 11, d_model: 8, hidden: 16, seeds: 2, max_steps: 75}\n"
    plan = make_plan(parse_spec(text))
    store = SweepStore(open_objects(str(tmp_path)), "forks")
    driven(text, plan, str(tmp_path), lambda *_: None)
    if keep == "forks":
        for run in plan.runs:
            store.objects.delete(store.layout.state(run.run_id, 75))
    view = Mock()
    report = run_sweep(store, text, plan, parse_spec(text).execution, Mock(), view, extend_to=100)
    assert report.state == "finished"
    said = [call.args[0] for call in view.event.call_args_list if "first step" in call.args[0]]
    assert (
        said
        == [
            "2 of 2 censored runs are trained again from their first step: their final states were not kept "
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
