"""The comparison itself, and what its committed tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fidelity.cells import difference, matched, paired_ratio, reference_runs, two_samples, within_target
from tests.fidelity.compare import SEEDED, cell_name, seeded_table

MEASURED = Path(__file__).parent / "measured"
REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "p59_runs.csv"
INF = float("inf")


def pairs_of(ours: list[float], theirs: list[float], arm: str = "clamp") -> pd.DataFrame:
    n = len(ours)
    same = {"p": 59, "loss": "ce", "arm": arm, "rho": 1.0, "tau": 1.0, "gamma": np.nan}
    memorized = {"ours_memorized": 175.0, "theirs_memorized": 175.0}
    return pd.DataFrame({**same, **memorized, "seed": range(n), "ours": ours, "theirs": theirs})


def test_a_censored_pair_is_equal_and_half_a_pair_is_infinitely_apart() -> None:
    pairs = pairs_of([100.0, INF, INF, 300.0], [125.0, INF, 300.0, INF])
    assert difference(pairs).tolist() == [-25.0, 0.0, INF, -INF]
    assert within_target(pairs).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("arm", "ours", "theirs", "ok"),
    [
        ("clamp", 6000, 6000, True),
        ("clamp", 5975, 6000, False),
        ("clamp", 12025, 12000, True),
        ("clamp", 12075, 12000, False),
        ("allocation", 3025, 3000, True),
        ("allocation", 3050, 3000, False),
        ("allocation", 5550, 5600, True),
    ],
)
def test_the_target_is_equality_and_then_half_a_percent(arm: str, ours: float, theirs: float, ok: bool) -> None:
    assert within_target(pairs_of([ours], [theirs], arm)).tolist() == [ok]


def test_a_run_that_misses_its_target_is_listed_by_cell_and_seed() -> None:
    table, verdict = seeded_table(pairs_of([3000, 3300, INF], [3000, 3275, 4000]))
    assert "1 of 3 runs that grok by step 6,000" in verdict
    assert "- clamp, ρ 1, τ 1, seed 1: +25 steps" in verdict
    assert "- clamp, ρ 1, τ 1, seed 2: one of the two did not grok" in verdict
    assert table.count("\n") == 2


def test_two_samples_of_one_distribution_agree_and_a_shifted_one_does_not() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 40))
    assert two_samples(one, other).mann_whitney_p > 0.05
    shifted = two_samples(one, other + 2)
    assert max(shifted.mann_whitney_p, shifted.kolmogorov_smirnov_p) < 1e-4
    assert two_samples(one, np.full(40, INF)).mann_whitney_u == 0, "censored runs rank above every number"


def test_the_ratio_of_paired_delays_has_an_interval_around_it() -> None:
    same = np.arange(100.0, 112.0)
    value, low, high = paired_ratio(3 * same, same)
    assert value == pytest.approx(3.0)
    assert low <= 3.0 <= high
    assert paired_ratio(3 * same, same) == (value, low, high), "seeded"


def test_cells_are_named_by_what_they_have() -> None:
    assert cell_name((59, "ce", "allocation", 1.0, 1.0, 0.3)) == "allocation, γ 0.3, ρ 1, τ 1"
    assert cell_name((59, "ce", "free", np.nan, 1.0, np.nan)) == "free, τ 1"


PUBLISHED = {
    ("fidelity-mediation-ce", 1.0, 1.0): 3675,
    ("fidelity-mediation-ce", 1.15, 1.0): 12600,
    ("fidelity-mediation-ce", 1.15, 1.15): 9100,
    ("fidelity-mediation-ce", 1.15, 1.3): 6825,
    ("fidelity-mediation-ce", 1.15, 1.5): 4700,
    ("fidelity-mediation-ce", 1.15, 1.7): 3450,
    ("fidelity-mediation-mse", 1.0, 1.0): 1175,
    ("fidelity-mediation-mse", 1.15, 1.0): 2225,
    ("fidelity-mediation-mse", 1.15, 1.15): 2088,
    ("fidelity-mediation-mse", 1.15, 1.3): 1900,
    ("fidelity-mediation-mse", 1.15, 1.5): 1700,
    ("fidelity-mediation-mse", 1.15, 1.7): 1550,
}
"""Median grokking steps that arXiv:2606.18465 prints for p = 59."""


@pytest.mark.parametrize(("cell", "published"), PUBLISHED.items())
def test_our_medians_are_the_published_ones(cell: tuple[str, float, float], published: int) -> None:
    sweep, rho, tau = cell
    runs = pd.read_csv(MEASURED / f"{sweep}.csv")
    steps = runs[(runs.arm == "clamp") & (runs.rho == rho) & (runs.tau == tau)].grokked_step
    assert len(steps) == 12
    assert abs(steps.median() - published) <= 0.005 * published


FURTHER_APART = {"fidelity-same-state": 3}
"""Runs of more than 20,000 steps that are further apart than 0.5 %; the README says by how much and why."""


@pytest.mark.skipif(not REFERENCE.exists(), reason="the paper's per-seed data is not beside the project")
@pytest.mark.parametrize("sweep", SEEDED)
def test_the_committed_runs_meet_the_targets_against_the_papers_seeds(sweep: str) -> None:
    runs = pd.read_csv(MEASURED / f"{sweep}.csv")
    pairs = matched(runs, reference_runs(str(REFERENCE), *SEEDED[sweep]))
    assert len(pairs) >= 48
    ok, short = within_target(pairs), pairs.theirs <= 6000
    assert ok[short].mean() >= 0.98
    missed = pairs[~ok & ~short]
    assert len(missed) == FURTHER_APART.get(sweep, 0)
    assert (missed.theirs > 20_000).all()
