"""The comparison of twins says what is near, what is not, and why."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from grok_sweeps.analysis.released import read_released
from tests.fidelity import full, twins

REFERENCES = [
    Path(__file__).parents[3] / "shared" / "reference" / name for name in ("p59_runs.csv", "p59_collapse_runs.csv")
]
STEPS = [4_000, 4_025, 20_050, 30_000, -1, -1]
RELEASED = [4_000, 4_000, 20_000, 20_000, -1, 20_000]


def pairs(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    cell = {"experiment": "dose", "p": 59, "arm": "clamp", "rho": 1.1, "tau": 1.0, "gamma": -1.0, "weight_decay": 1.0}
    rows = [
        {**cell, "seed": k, "grokked_step": ours, "grokked_step_theirs": theirs, "memorized_step": 1,
         "memorized_step_theirs": 1, "softmax_collapse_max": 0.3 * (k > 2)}
        for k, (ours, theirs) in enumerate(zip(STEPS, RELEASED, strict=True))
    ]  # fmt: skip
    monkeypatch.setattr(twins, "paired", lambda *_: pd.DataFrame(rows))
    return twins.judged(pd.DataFrame(), pd.DataFrame())


def test_how_near_two_runs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pairs(monkeypatch)
    near = ["equal", "one reading off", "within 0.5 %", "further apart", "equal", "further apart"]
    assert found.how.tolist() == near
    assert twins.by_experiment(found).splitlines()[-1] == "| **all** | | 6 | 2 | 1 | 1 | 2 | 6 |"
    assert twins.target(found).startswith("1 of 2 runs that grok by step 6,000 are equal to the step, 2 within one")
    first, second, third = twins.exceptions(found)
    assert "seed 1: 4,025, released 4,000; no collapse" in first
    assert "seed 3: 30,000, released 20,000; softmax collapse up to 0.30" in second
    assert "seed 5: not reached, released 20,000" in third


@pytest.mark.skipif(not all(map(Path.exists, REFERENCES)), reason="the paper's runs are not beside the project")
def test_the_runs_that_are_kept_meet_the_targets_against_the_released_ones() -> None:
    found = twins.judged(pq.read_table(full.RUNS).to_pandas(), read_released(REFERENCES))
    assert len(found) >= 72
    short = found[found.grokked_step_theirs.between(1, twins.SHORT)]
    assert (short.how == "equal").mean() >= 0.99
    assert set(short.how) <= {"equal", "one reading off"}
    far = found.drop(short.index)
    assert (far[far.how == "further apart"].softmax_collapse_max > 0).all()
