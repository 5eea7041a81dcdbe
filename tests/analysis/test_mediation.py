"""Mediation: parity with pingouin, R's lm and statsmodels, coverage on known mediation, reasons on odd tables."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.sandbox.regression.gmm import IV2SLS

from grok_sweeps.analysis import analyze
from grok_sweeps.analysis.estimators.mediation import QUANTITIES, mediation
from grok_sweeps.analysis.methods.bootstrap import draw, expanded_level, percentile_interval
from grok_sweeps.analysis.methods.mediation_check import SIMULATED
from grok_sweeps.analysis.methods.pathways import effects
from grok_sweeps.analysis.methods.products import covariance, r_squared, resampled_covariance, slopes

PARITY = Path(__file__).parent / "parity"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(PARITY / "mediation.csv")


@pytest.fixture(scope="module")
def columns(table):
    return table[["x", "ln_tau", "ln_scale", "ln_step"]].to_numpy()


@pytest.fixture
def rows(table):
    """The parity table as runs: rho 1 to 1.15, T a thousand million times as long, so that it is whole steps."""
    return [
        {
            "rho": 1 + 0.15 * r.x,
            "tau": float(np.exp(r.ln_tau)),
            "seed": int(r.seed),
            "grokked_step": round(1e9 * np.exp(r.ln_step)),
            "logit_scale_at_grok": float(np.exp(r.ln_scale)),
        }
        for r in table.itertuples()
    ]


def test_the_effects_equal_those_of_pingouin_and_r(rows, cells_of):
    peers = json.loads((PARITY / "peers.json").read_text())["mediation"]
    r = json.loads((PARITY / "r.json").read_text())["mediation"]
    fitted = mediation(cells_of(rows), resamples=50, seed=0).runs
    for name, values in {
        "acme": (peers["Indirect"], r["acme"]),
        "ade": (peers["Direct"], r["ade"]),
        "total_effect": (peers["Total"],),
        "proportion_mediated": (peers["Indirect"] / peers["Total"],),
        "acme_instrumented": (r["acme_instrumented"],),
        "acme_zero_correlation": (r["zero"],),
    }.items():
        for value in values:
            assert fitted[name].value == pytest.approx(value, rel=1e-6), name
    curve = {p.correlation: p.acme for p in fitted.curve}
    assert curve[-0.4] == pytest.approx(r["acme_at"]["minus"], rel=1e-6)
    assert curve[0.7] == pytest.approx(r["acme_at"]["plus"], rel=1e-6)


def test_statsmodels_own_mediation_agrees_within_its_simulation(rows, cells_of):
    fitted = mediation(cells_of(rows), resamples=200, seed=0).runs
    for ours, theirs in (("acme", "acme_statsmodels"), ("ade", "ade_statsmodels")):
        low, high = fitted[theirs].interval
        assert abs(fitted[ours].value - fitted[theirs].value) < 4 * (high - low) / 3.92 / np.sqrt(100)
        assert "independent" in fitted[theirs].method


def test_the_instrumented_slope_is_that_of_two_stage_least_squares(columns):
    x, z, m, y = columns.T
    one = np.ones(len(x))
    theirs = IV2SLS(y, np.column_stack([one, x, m]), np.column_stack([one, x, z])).fit().params[2]
    assert effects(covariance(columns), True).b_instrumented == pytest.approx(theirs, rel=1e-9)


def test_the_sensitivity_given_an_instrument_finds_the_slope_of_confounded_errors():
    rng = np.random.default_rng(0)
    x, z, e, f = rng.normal(size=(4, 400_000))
    m = x - 0.7 * z + e
    y = 0.3 * x + 1.1 * m + (0.6 * e + 0.8 * f)
    fitted = effects(covariance(np.column_stack([x, z, m, y])), True)
    assert fitted.acme_at(0.6) == pytest.approx(1.1, abs=0.02)
    assert abs(float(fitted.acme) - 1.1) > 0.3


def test_the_curve_is_zero_at_the_stated_correlation(columns):
    for instrument in (False, True):
        fitted = effects(covariance(columns), instrument)
        at = float(fitted.zero_correlation)
        if abs(at) < 1:
            assert fitted.acme_at(at) == pytest.approx(0, abs=1e-12)


def test_resampled_covariances_equal_those_of_the_drawn_rows(table, columns):
    seed_of = table["seed"].to_numpy()
    lists = draw(8, 5, 1)
    fast = resampled_covariance(columns, seed_of, lists)
    for drawn, cov in zip(lists, fast, strict=True):
        by_hand = np.concatenate([columns[seed_of == s] for s in drawn])
        np.testing.assert_allclose(cov, covariance(by_hand), rtol=1e-9, atol=1e-12)


def test_collinear_and_constant_columns_give_nan_not_an_error():
    cov = covariance(np.column_stack([np.arange(9.0), 2 * np.arange(9.0), np.ones(9), np.arange(9.0) ** 2]))
    assert np.isnan(slopes(cov, 3, (0, 1))).all()
    assert np.isnan(r_squared(cov, 3, (2,)))


def simulated(rng, b, c, n_seeds=12):
    """12 cells and seeds with effects of their own on both; true ACME 0.35 b, ADE c."""
    x, z, seed = (
        a.ravel() for a in np.meshgrid([0, 1 / 3, 2 / 3, 1], np.log([1, 1.3, 1.7]), range(n_seeds), indexing="ij")
    )
    own = rng.normal(0, 0.1, (2, n_seeds))
    m = 0.35 * x - 0.5 * z + own[0][seed] + rng.normal(0, 0.1, len(x))
    y = c * x + b * m + own[1][seed] + rng.normal(0, 0.2, len(x))
    return np.column_stack([x, z, m, y]), seed


@pytest.mark.parametrize(
    ("b", "c"), [(1.2, 0.3), (0.0, 0.3), (1.2, 0.0)], ids=["both", "no mediation", "full mediation"]
)
def test_intervals_cover_the_known_effects_and_reject_a_null_at_five_percent(b, c):
    """400 samples of 12 seeds; measured cover is in parity/README.md. At a true 0 a miss is a false positive."""
    rng = np.random.default_rng(11)
    lists, level, n = draw(12, 400, 5), expanded_level(12), 400
    hits = dict.fromkeys(("acme", "ade", "instrumented", "total"), 0)
    for _ in range(n):
        columns, seed_of = simulated(rng, b, c)
        fitted = effects(resampled_covariance(columns, seed_of, lists), True)
        drawn = {"acme": fitted.acme, "ade": fitted.c, "instrumented": fitted.acme_instrumented, "total": fitted.total}
        truth = {"acme": 0.35 * b, "ade": c, "instrumented": 0.35 * b, "total": 0.35 * b + c}
        for name, values in drawn.items():
            low, high = percentile_interval(values, level)[0]
            hits[name] += low <= truth[name] <= high
    for name, count in hits.items():
        assert 0.91 <= count / n <= 0.985, f"{name}: 95 % intervals cover in {100 * count / n:.1f} % of {n} samples"


def test_the_paper_convention_rests_on_medians_and_the_difference_is_stated(grid, cells_of):
    result = mediation(cells_of(grid(seeds=12)), resamples=200, seed=0)
    assert result.paper["acme"].n_cells == 12
    assert result.runs["acme"].n_runs == 144
    assert result.difference("acme").value == result.runs["acme"].value - result.paper["acme"].value
    assert result.paper["acme"].resampling == "200 resamples of 12 seeds, seed 0"
    assert "endogenous" in result.caveat


def test_the_paper_convention_reads_the_logit_scale_at_the_logged_step_where_every_cell_has_it(grid, cells_of):
    cells = cells_of(grid(seeds=12))
    own = mediation(cells, resamples=200, seed=0).paper
    assert "logit_scale_at_grok" in own.method
    # Half of L in every run: its slope on the dose is the same, in logarithms, and so is every effect.
    halved = [
        replace(c, runs=tuple(replace(r, logged_scale=r.logit_scale / 2, logit_scale=None) for r in c.runs))
        for c in cells
    ]
    logged = mediation(halved, resamples=200, seed=0).paper
    assert "logged step" in logged.method
    assert logged["acme"].value == pytest.approx(own["acme"].value, rel=1e-9)
    assert logged["acme"].interval == pytest.approx(own["acme"].interval, rel=1e-9)
    one_lacks = [replace(halved[0], runs=cells[0].runs), *halved[1:]]
    assert "logit_scale_at_grok" in mediation(one_lacks, resamples=20, seed=0).paper.method


ODD = {
    "censored": lambda r: {"outcome": "censored", "grokked_step": None, "logit_scale_at_grok": None},
    "one dose": lambda r: {"rho": 1.0},
    "constant L": lambda r: {"logit_scale_at_grok": 20.0},
    "constant T": lambda r: {"grokked_step": 1000},
    "no L": lambda r: {"logit_scale_at_grok": None},
    "negative L": lambda r: {"logit_scale_at_grok": -1.0},
    "free": lambda r: {"arm": "free", "rho": None},
    "L is the dose": lambda r: {"logit_scale_at_grok": float(np.exp(r["rho"])), "tau": 1.0},
}


@pytest.mark.parametrize("what", ODD)
def test_odd_tables_give_reasons(what, grid, make_runs, no_curves):
    runs = make_runs([{**r, **ODD[what](r), "cell_id": f"{r['rho']}-{r['tau']}"} for r in grid(seeds=3)])
    cells = analyze(runs, no_curves, sweep="made", resamples=0).families[0].cells
    result = mediation(cells, resamples=50, seed=0)
    for fitted in (result.runs, result.paper):
        assert len(fitted.estimates) == len(QUANTITIES) + len(SIMULATED) * (fitted.convention == "runs")
        assert all(e.value is None and e.reason and not e.resampling for e in fitted.estimates), what
        assert fitted.curve == fitted.curve_given_tau == ()


def test_one_seed_has_effects_without_interval(grid, cells_of):
    estimate = mediation(cells_of(grid(seeds=1)), resamples=50, seed=0).runs["acme"]
    assert estimate.value is not None
    assert estimate.interval_reason == "one seed cannot be resampled"
    assert mediation((), resamples=50, seed=0).runs["acme"].reason


def test_censored_runs_are_counted_in_what_was_left_out(grid, cells_of):
    rows = grid(seeds=6)
    rows[0] |= {"outcome": "censored", "grokked_step": None, "logit_scale_at_grok": None}
    left_out = mediation(cells_of(rows), resamples=50, seed=0).runs["acme"].left_out
    assert any(text.startswith("1 runs that did not grok") for text in left_out)
