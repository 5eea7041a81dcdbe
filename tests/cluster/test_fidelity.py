"""The paper's released runs, seed by seed, through the command line: steps equal to the step."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from cluster_processes import Sweeping

from grok_sweeps.results import open_store

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "p59_runs.csv"

SPEC = """\
name: fidelity
runs: {p: 59, arm: clamp, w_c: 54.489295959472656, seeds: 12, seeding: paper, max_steps: 40000}
blocks:
  - {rho: 1.0, tau: 1.0}
  - {rho: 1.15, tau: 1.7}
execution: {device: cpu}
"""


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not REFERENCE.exists(), reason="the paper's per-seed data is not beside the project")
def test_all_24_runs_memorise_and_grok_at_the_published_steps(tmp_path: Path, sweeping: type[Sweeping]) -> None:
    (tmp_path / "fidelity.yaml").write_text(SPEC)
    sweep = sweeping("run", "fidelity.yaml", "--store", "store")
    assert sweep.process.wait(timeout=2900) == 0, (tmp_path / "run.log").read_text()
    published = pd.read_csv(REFERENCE)
    published = published[(published.experiment == "mediation") & (published.arm == "clamp") & (published.loss == "ce")]
    keys = ["rho", "tau", "seed"]
    both = open_store(str(tmp_path / "store")).runs("fidelity").merge(published, on=keys, suffixes=("", "_published"))
    assert len(both) == 24
    different = both[
        (both.grokked_step != both.grokked_step_published) | (both.memorized_step != both.memorized_step_published)
    ]
    assert different.empty, different[
        [*keys, "memorized_step", "memorized_step_published", "grokked_step", "grokked_step_published"]
    ].to_string()
