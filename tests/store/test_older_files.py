"""Files of earlier versions are read and trained on from. `make_stored.py` made them, with the code of their time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from grok_sweeps.calibration import resolve_control
from grok_sweeps.plan import make_plan
from grok_sweeps.provenance import provenance
from grok_sweeps.results import Store, open_store
from grok_sweeps.store import SweepStore
from grok_sweeps.store.checkpoints import kept_state, kept_steps
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import load_work
from tests.published import published

FOLDERS = sorted(path for path in Path(__file__).with_name("stored").iterdir() if path.is_dir())


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A copy of the files of one version."""
    shutil.copytree(request.param, tmp_path / "store")
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def sweep(store: Store) -> SweepStore:
    return store.sweep("stored")


def test_spec_and_plan_are_those_of_today(sweep: SweepStore) -> None:
    spec, plan = sweep.load_spec(), sweep.load_plan()
    assert spec is not None
    assert plan == make_plan(spec)


def test_calibration_packs_and_status_are_read(sweep: SweepStore) -> None:
    plan, status = sweep.load_plan(), sweep.load_status()
    assert plan is not None
    assert list(sweep.load_calibration()) == list(plan.controls)
    assert sum(len(load_work(sweep, pack)[0].runs) for pack in ("control", "ended", "under-way")) == len(plan.runs)
    assert status is not None
    assert status["state"] == "interrupted"


def test_a_calibration_made_anew_from_the_rows_is_the_same_to_the_bit(sweep: SweepStore) -> None:
    plan, log = sweep.load_plan(), RowLog(sweep)
    log.refresh()
    assert plan is not None
    assert {c: resolve_control(c, ids, log.rows) for c, ids in plan.controls.items()} == sweep.load_calibration()


def test_rows_and_curves_are_read(store: Store, sweep: SweepStore) -> None:
    log = RowLog(sweep)
    log.refresh()
    runs = store.runs("stored").set_index("run_id").sort_index()
    assert set(runs.index) == set(log.rows)
    assert sorted(runs.outcome) == ["censored", "grokked", "grokked"]
    curves = store.curves("stored").groupby("run_id")
    assert curves.step.max().to_dict() == runs.steps_run.to_dict()
    assert (curves.test_accuracy.max()[runs.index[runs.outcome == "grokked"]] >= 0.9).all()
    (summary,) = store.sweeps().to_dict("records")
    assert (summary["runs_planned"], summary["runs_finished"]) == (4, 3)


def test_a_run_goes_on_from_its_checkpoint_to_its_end(sweep: SweepStore) -> None:
    plan, (old,) = sweep.load_plan(), load_work(sweep, "under-way")[0].runs
    assert plan is not None
    how = {"device": "cpu", "engine": "eager", "threads": 1, "checkpoint_every_s": 60.0, "git_sha": None}
    runs = [run for run in plan.runs if run.run_id == old.run_id]
    work, content = published(sweep, plan, "under-way", runs, lanes=1, **how)
    (run,) = work.runs
    assert 0 < StateIndex(sweep).load_newest([run.run_id])[run.run_id].step < run.horizon_steps
    engine = choose_engine(content["engine"], torch.device("cpu"))
    trainer = PackTrainer(sweep, work, "today", engine, provenance(None))
    assert trainer.lane_states()[0].step > 0
    while not trainer.advance(1.0).done:
        pass
    log = RowLog(sweep)
    log.refresh()
    assert log.rows[run.run_id]["outcome"] in ("grokked", "censored")
    assert len(log.rows) == 4


def test_a_censored_runs_state_is_read(store: Store, sweep: SweepStore) -> None:
    (censored,) = store.sql("SELECT run_id, steps_run FROM runs WHERE outcome = 'censored'").itertuples(index=False)
    assert kept_steps(sweep) == {censored.run_id: {censored.steps_run}}
    state = kept_state(sweep, censored.run_id, censored.steps_run)
    assert state is not None
    assert state.tensors["reading_steps"][-1] == censored.steps_run
