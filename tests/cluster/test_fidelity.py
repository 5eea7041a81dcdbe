"""A few of the fidelity runs trained anew through the command line: the steps are those of the committed tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from cluster_processes import Sweeping

from grok_sweeps.results import open_store
from tests.fidelity.cells import matched, reference_runs, within_target

FOLDER = Path(__file__).parents[1] / "fidelity"
REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "p59_runs.csv"
EXPERIMENTS = (("mediation", "ce"), ("mediation", "mse"), ("alloc", None), ("samestate", None))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_runs_of_every_seeded_experiment_memorise_and_grok_at_the_recorded_steps(
    tmp_path: Path, sweeping: type[Sweeping]
) -> None:
    sweep = sweeping("run", str(FOLDER / "subset.yaml"), "--store", "store")
    assert sweep.process.wait(timeout=2900) == 0, (tmp_path / "run.log").read_text()
    runs = open_store(str(tmp_path / "store")).runs("fidelity-subset")
    recorded = pd.concat([pd.read_csv(path) for path in sorted((FOLDER / "measured").glob("*.csv"))])
    both = runs.merge(recorded, on="run_id", suffixes=("", "_recorded"))
    assert len(both) == len(runs) == 14
    for name in ("outcome", "memorized_step", "grokked_step", "steps_run"):
        now, then = (
            both[column].astype(object).where(both[column].notna(), None) for column in (name, f"{name}_recorded")
        )
        different = both[[a != b for a, b in zip(now, then, strict=True)]]
        assert different.empty, different[["arm", "loss", "seed", name, f"{name}_recorded"]].to_string()
    if REFERENCE.exists():
        for experiment, loss in EXPERIMENTS:
            pairs = matched(runs, reference_runs(str(REFERENCE), experiment, loss))
            assert len(pairs) >= 2
            assert within_target(pairs).all(), pairs[["arm", "loss", "seed", "ours", "theirs"]].to_string()
