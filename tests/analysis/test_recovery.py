"""The recovery fraction against the paper, and the reasons where it does not exist."""

import csv
from pathlib import Path

import pytest

from grok_sweeps.analysis import analyze

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "p59_runs.csv"


def recovery(runs, curves, **options):
    return analyze(runs, curves, sweep="made", **options).families[0].recovery.paper


@pytest.mark.parametrize(("p", "value"), [(59, 0.83), (97, 0.89)])
def test_the_printed_cells_give_the_printed_recovery(p, value, make_runs, published, no_curves):
    estimate = recovery(make_runs(published("temperature_sweep", p)), no_curves)
    assert round(estimate.value, 2) == value


def test_the_released_seeds_give_the_printed_recovery_and_interval(make_runs, published, no_curves):
    if not REFERENCE.is_file():
        pytest.skip("the paper's runs are not part of the repository: no ../shared/reference/p59_runs.csv")
    scale = {(r["rho"], r["tau"]): r["logit_scale_at_grok"] for r in published("temperature_sweep", 59)}
    with REFERENCE.open() as file:
        rows = [
            {
                "rho": float(r["rho"]),
                "tau": float(r["tau"]),
                "seed": int(r["seed"]),
                "grokked_step": int(r["grokked_step"]),
                "memorized_step": int(r["memorized_step"]),
                "logit_scale_at_grok": scale[float(r["rho"]), float(r["tau"])],
            }
            for r in csv.DictReader(file)
            if (r["experiment"], r["arm"], r["loss"]) == ("mediation", "clamp", "ce")
        ]
    assert len(rows) == 72
    family = analyze(make_runs(rows), no_curves, sweep="made", resamples=4000).families[0]
    printed = {(r["rho"], r["tau"]): r["grokked_step"] for r in published("temperature_sweep", 59)}
    assert {(c.rho, c.tau): c.grokked_step.value for c in family.cells} == printed
    assert round(family.recovery.paper.value, 2) == 0.83
    low, high = family.recovery.paper.interval
    assert (round(low, 2), round(high, 2)) == (0.82, 0.85)


def test_a_temperature_that_undoes_all_recovers_all(make_runs, no_curves):
    cells = ((1.0, 1.0, 2000, 20.0), (1.15, 1.0, 8000, 30.0), (1.15, 1.7, 2000, 20.0))
    rows = [
        {"rho": rho, "tau": tau, "seed": s, "grokked_step": t + 25 * s, "logit_scale_at_grok": scale}
        for rho, tau, t, scale in cells
        for s in range(5)
    ]
    estimate = recovery(make_runs(rows), no_curves)
    assert estimate.value == pytest.approx(1.0)
    assert (estimate.n_runs, estimate.n_cells) == (15, 3)


def rows_of(*cells, **values):
    return [
        {"rho": r, "tau": t, "seed": s, "grokked_step": n, "logit_scale_at_grok": scale, **values}
        for r, t, n, scale in cells
        for s in range(3)
    ]


BASE, UP = (1.0, 1.0, 2000, 20.0), (1.15, 1.0, 8000, 30.0)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ((UP, (1.15, 1.7, 2000, 18.0)), "no cell at rho 1, tau 1"),
        ((BASE, UP), "no rho above 1 that has tau 1 and another tau"),
        ((BASE, UP, (1.15, 1.3, 5000, 25.0)), "does not bracket"),
        ((BASE, UP, (1.15, 1.3, 5000, 15.0), (1.15, 1.7, 3000, 25.0)), "at 2 places"),
        ((BASE, (1.15, 1.0, 1500, 30.0), (1.15, 1.7, 1000, 15.0)), "T1 is not above T0"),
    ],
)
def test_without_the_cells_for_it_there_is_a_reason(cells, reason, make_runs, no_curves):
    estimate = recovery(make_runs(rows_of(*cells)), no_curves)
    assert estimate.value is None
    assert reason in estimate.reason


def test_a_censored_raised_cell_is_the_reason(make_runs, no_curves):
    rows = rows_of(BASE, UP, (1.15, 1.7, 2000, 18.0))
    for row in rows:
        if row["grokked_step"] == 8000:
            row.update(grokked_step=None, outcome="censored", logit_scale_at_grok=None)
    estimate = recovery(make_runs(rows), no_curves)
    assert "the cell at rho 1.15, tau 1 has no T or L: 3 of 3 runs" in estimate.reason


def test_under_squared_error_there_is_no_recovery_fraction(make_runs, no_curves):
    estimate = recovery(make_runs(rows_of(BASE, UP, (1.15, 1.7, 2000, 18.0), loss="mse")), no_curves)
    assert "not defined under loss mse" in estimate.reason


def test_another_raised_dose_is_taken_where_the_papers_is_absent(make_runs, no_curves):
    cells = (BASE, (1.2, 1.0, 8000, 30.0), (1.2, 1.7, 3000, 20.0), (1.1, 1.0, 6000, 26.0), (1.1, 1.7, 1000, 14.0))
    estimate = recovery(make_runs(rows_of(*cells)), no_curves)
    assert estimate.value == pytest.approx(5 / 6)
    assert "rho 1.2" in estimate.method
