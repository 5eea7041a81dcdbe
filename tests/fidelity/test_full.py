"""The paper's runs that are kept with the project are what they say, and a store goes on from them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from grok_sweeps.config import run_config_from_dict
from grok_sweeps.plan import make_plan
from grok_sweeps.results import Store, open_store
from grok_sweeps.schema import RUN_COLUMNS
from grok_sweeps.spec import load_spec
from tests.fidelity import full


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return pq.read_table(full.RUNS).to_pandas()


def test_each_kept_run_is_one_of_the_paper_under_its_own_id(runs: pd.DataFrame) -> None:
    assert list(runs.columns) == [column.name for column in RUN_COLUMNS]
    assert not runs.run_id.duplicated().any()
    assert set(runs.run_id) <= make_plan(load_spec("paper/all")[0]).run_ids()
    rows = pq.read_table(full.RUNS).to_pylist()
    assert all(run_config_from_dict(row).run_id == row["run_id"] for row in rows)
    assert set(runs.outcome) <= {"grokked", "censored"}
    assert runs[["version", "git_sha", "torch", "host", "device_name"]].notna().all().all()


def test_readings_at_logged_steps_are_kept_of_each_run(runs: pd.DataFrame) -> None:
    curves = pq.read_table(full.CURVES).to_pandas()
    assert set(curves.run_id) == set(runs.run_id)
    means = full.seed_means(curves, runs)
    first = means[means.step == 1]
    assert set(first.cell_id) == set(runs.cell_id)
    assert first.logit_scale.notna().all()


def test_a_store_goes_on_from_what_is_kept(
    runs: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store: Store = open_store(str(tmp_path))
    full.restore(store)
    assert "paper-dose: " in capsys.readouterr().out
    again = store.runs()
    assert sorted(again.run_id) == sorted(runs.run_id)
    one = runs.run_id.iloc[0]
    assert store.curves(run_ids=[one]).step.iloc[0] == 1
    assert len(full.finished_runs(store)) == len(runs)
