"""Censored grokking times: parity with R's survival and lifelines, least squares without censoring, no bias with it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_sweeps.analysis.estimators.survival import survival
from grok_sweeps.analysis.methods.accelerated import LOGNORMAL, WEIBULL, Times, fit
from grok_sweeps.analysis.table.cells import make_cells
from grok_sweeps.analysis.table.families import split
from grok_sweeps.analysis.table.tables import clean

PARITY = Path(__file__).parent / "parity"
LAWS = {"lognormal": LOGNORMAL, "weibull": WEIBULL}


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(PARITY / "times.csv")


@pytest.fixture(scope="module")
def peers():
    return {name: json.loads((PARITY / f"{name}.json").read_text()) for name in ("r", "peers")}


def rows_of(table):
    """The parity times as rows of a results table."""
    return [
        {
            "rho": r.rho,
            "tau": float(np.exp(r.ln_tau)),
            "seed": r.seed,
            "outcome": "grokked" if r.event else "censored",
            "grokked_step": r.step if r.event else None,
            "logit_scale_at_grok": 20.0 if r.event else None,
            "steps_run": r.step,
            "max_steps": 4000,
        }
        for r in table.itertuples()
    ]


@pytest.fixture(scope="module")
def analysed(make_runs):
    def analysed(rows, **columns):
        tables = clean(make_runs(rows).assign(**columns), pd.DataFrame(), ["made"])
        family = split(tables.runs)[0][1]
        return survival(make_cells(family, tables.missing), family)

    return analysed


def test_the_models_equal_survreg_coxph_and_lifelines(table, peers, analysed):
    result = analysed(rows_of(table))
    assert result.n_censored == 35
    for name in LAWS:
        ours = [result[f"aft_{name}_{x}"].value for x in ("rho", "ln_tau")]
        np.testing.assert_allclose(ours, peers["r"][name]["beta"][1:], rtol=1e-6)
        np.testing.assert_allclose(ours, peers["peers"][name]["beta"][1:], rtol=1e-5)
        assert result[f"aft_{name}_sigma"].value == pytest.approx(peers["r"][name]["sigma"], rel=1e-6)
        assert result[f"aft_{name}_aic"].value == pytest.approx(8 - 2 * peers["r"][name]["log_likelihood"], rel=1e-9)
    ours = [result[f"cox_{x}"] for x in ("rho", "ln_tau")]
    np.testing.assert_allclose([e.value for e in ours], peers["r"]["cox"]["beta"], rtol=1e-6)
    np.testing.assert_allclose([e.value for e in ours], peers["peers"]["cox"]["beta"], rtol=1e-4)


@pytest.mark.parametrize("name", LAWS)
def test_the_covariances_equal_those_of_survreg(name, table, peers):
    design = np.column_stack([np.ones(len(table)), table["rho"], table["ln_tau"]])
    between = fit(Times(table["low"].to_numpy(float), table["high"].fillna(np.inf).to_numpy(float)), design, LAWS[name])
    spread = np.sqrt(np.diag(between.covariance))
    np.testing.assert_allclose(spread[:3], peers["r"][name]["se"], rtol=1e-4)
    assert spread[3] / between.sigma == pytest.approx(peers["r"][name]["se_log_sigma"], rel=1e-4)
    step = table["step"].to_numpy(float)
    exact = fit(Times(step, np.where(table["event"] == 1, step, np.inf)), design, LAWS[name])
    theirs = peers["r"][f"{name}_exact"]
    np.testing.assert_allclose(exact.beta, theirs["beta"], rtol=1e-5)
    assert exact.log_likelihood == pytest.approx(theirs["log_likelihood"], rel=1e-8)
    robust = np.sqrt(np.diag(exact.clustered(table["seed"].to_numpy())))
    np.testing.assert_allclose(robust[:3], theirs["se_robust"], rtol=1e-4)
    assert robust[3] / exact.sigma == pytest.approx(theirs["se_robust_log_sigma"], rel=1e-4)


def test_the_robust_error_of_cox_is_that_of_coxph_but_for_ties(table, peers, analysed):
    """Equal without ties; with Efron's, PHReg takes the scores of Breslow's, 2.7 % less here (statsmodels 0.15)."""
    result = analysed(rows_of(table))
    for x, theirs in zip(("rho", "ln_tau"), peers["r"]["cox"]["se_robust"], strict=True):
        low, high = result[f"cox_{x}"].interval
        assert (high - low) / 2 == pytest.approx(2.2621571628 * np.sqrt(10 / 9) * theirs, rel=0.03)


@given(st.integers(0, 10_000))
def test_lognormal_without_censoring_is_least_squares(seed):
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(30), rng.normal(size=(30, 2))])
    y = design @ [7.0, 0.5, -1.0] + rng.normal(0, 0.3, 30)
    fitted = fit(Times(np.exp(y), np.exp(y)), design, LOGNORMAL)
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(fitted.beta, beta, rtol=1e-8, atol=1e-8)
    assert fitted.sigma == pytest.approx(np.sqrt(np.mean((y - design @ beta) ** 2)), rel=1e-8)


def test_in_a_table_without_eval_every_and_censoring_the_slope_is_that_of_least_squares(grid, analysed):
    result = analysed(grid(), eval_every=None)
    assert result.n_censored == 0
    assert result.medians == ()
    assert result["aft_lognormal_rho"].value == pytest.approx(result["dropped_rho"].value, rel=1e-7)
    assert "72 grokked runs have no eval_every" in result["aft_lognormal_rho"].left_out[0]


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_censored_runs_kept_are_unbiased_and_dropped_are_not(law):
    """300 samples of 96 runs over 8 seeds, true slope 6; more of it in parity/README.md."""
    rng = np.random.default_rng(3)
    rho = np.repeat([1.0, 1.05, 1.1, 1.15], 24)
    seed = np.tile(np.arange(8), 12)
    design = np.column_stack([np.ones(96), rho - 1])
    kept, dropped, covered = [], [], 0
    for _ in range(300):
        noise = rng.normal(size=96) if law is LOGNORMAL else np.log(rng.exponential(size=96))
        step = np.ceil(np.exp(8 + 6 * (rho - 1) + 0.3 * noise) / 25) * 25
        censored = step > (4500 if law is LOGNORMAL else 4000)
        end = np.where(censored, 4500 if law is LOGNORMAL else 4000, step - 25)
        fitted = fit(Times(end, np.where(censored, np.inf, step)), design, law)
        kept.append(fitted.beta[1])
        half = 2.364624 * np.sqrt(fitted.clustered(seed)[1, 1])
        covered += abs(fitted.beta[1] - 6) < half
        dropped.append(np.polyfit(rho[~censored], np.log(step[~censored]), 1)[0])
    error = np.std(kept) / np.sqrt(300)
    assert abs(np.mean(kept) - 6) < 4 * error, f"mean slope {np.mean(kept):.3f} ± {error:.3f}, true 6"
    assert np.mean(dropped) < 5, f"mean slope without the censored runs {np.mean(dropped):.3f}, true 6"
    assert 0.90 < covered / 300 < 0.985, f"95 % intervals cover in {covered / 3:.1f} % of 300 samples"


def test_the_curve_of_a_cell_equals_survfit(table, peers, analysed):
    theirs = peers["r"]["kaplan_meier"]
    (curve,) = [
        c
        for c in analysed(rows_of(table)).curves
        if (c.rho, np.log(c.tau)) == pytest.approx((theirs["rho"], theirs["ln_tau"]))
    ]
    here = table[np.isclose(table.rho, theirs["rho"]) & np.isclose(table.ln_tau, theirs["ln_tau"])]
    assert curve.steps == tuple(theirs["step"])
    np.testing.assert_allclose(curve.share, theirs["share"], rtol=1e-9)
    for ours, ends in ((curve.low, theirs["low"]), (curve.high, theirs["high"])):
        known = [v is not None for v in ours]
        assert known == [share > 0 for share in curve.share]
        np.testing.assert_allclose(np.array(ours, dtype=float)[known], np.array(ends, dtype=float)[known], rtol=1e-6)
    assert curve.ended == tuple(sorted(here.step[here.event == 0]))
    assert curve.n_runs == len(here)


def test_a_cell_with_censored_runs_has_a_median_and_one_of_censored_runs_alone_a_reason(grid, analysed):
    rows = []
    for r in grid(seeds=10, noise=0.3):
        never = r["grokked_step"] > 5000 or (r["rho"], r["tau"]) == (1.15, 1.0)
        hidden = {"outcome": "censored", "grokked_step": None, "logit_scale_at_grok": None} if never else {}
        rows.append({**r, **hidden, "steps_run": 5000 if never else r["grokked_step"]})
    result = analysed(rows)
    by_cell = {m.label: m for m in result.medians}
    assert sum(m.n_censored for m in result.medians) == result.n_censored
    hopeless = by_cell["clamp, rho 1.15, tau 1"].median
    assert hopeless.reason == "all 10 runs of the cell ended without grokking: the median is beyond their horizon"
    for m in result.medians:
        if m.median.value is not None:
            assert m.median.interval[0] < m.median.value < m.median.interval[1]
            assert ("an extrapolation" in m.median.method) == (m.median.value > 5000)


ALL_REASON = {
    "no run grokked": lambda r: {"outcome": "censored", "grokked_step": None, "steps_run": 60_000},
    "one cell": lambda r: {"rho": 1.0, "tau": 1.0, "seed": hash((r["rho"], r["tau"], r["seed"]))},
    "all free": lambda r: {"arm": "free", "rho": None},
    "no spread": lambda r: {"grokked_step": 1000},
    "a dose of censored runs alone": lambda r: (
        {"rho": 1.0, "tau": 1.0}
        if r["rho"] < 1.1
        else {"rho": 1.1, "tau": 1.0, "outcome": "censored", "grokked_step": None, "steps_run": 60_000}
    ),
}


@pytest.mark.parametrize("what", ALL_REASON)
def test_where_there_is_no_model_there_is_a_reason(what, grid, analysed):
    result = analysed([{**r, **ALL_REASON[what](r)} for r in grid(seeds=2)])
    assert all(e.value is None and e.reason for e in result.estimates if e.name.startswith("aft_"))


def test_runs_without_seed_get_an_interval_that_says_so(grid, analysed):
    estimate = analysed(grid(), seed=None)["aft_lognormal_rho"]
    assert estimate.interval is not None
    assert "taken as independent" in estimate.method
