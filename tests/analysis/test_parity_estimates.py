"""Estimators against R (lm, nls, lme4, boot, t.test) on made data; `parity/estimates.R` made both tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from grok_sweeps.analysis.estimators.collapse import collapse
from grok_sweeps.analysis.estimators.equivalence import tost
from grok_sweeps.analysis.estimators.law import law
from grok_sweeps.analysis.estimators.shared_law import shared_law
from grok_sweeps.analysis.methods.bootstrap import bca_interval, draw, percentile_interval
from grok_sweeps.analysis.table.cells import make_cells
from grok_sweeps.analysis.table.families import split
from grok_sweeps.analysis.table.tables import clean
from tests.analysis.simulated import cell

PARITY = Path(__file__).parent / "parity"
W_C = 54.0


@pytest.fixture(scope="module")
def expected():
    with (PARITY / "estimates_expected.csv").open() as file:
        return {r["name"]: float(r["value"]) for r in csv.DictReader(file)}


@pytest.fixture(scope="module")
def runs():
    return pd.read_csv(PARITY / "estimates_runs.csv")


@pytest.fixture(scope="module")
def families(runs):
    table = runs.assign(sweep="made", arm="clamp", w_c=W_C, outcome="grokked", memorized_step=175, max_steps=60_000)
    table["run_id"] = [f"run {i}" for i in range(len(table))]
    table["cell_id"] = [f"{p}-{r}-{t}" for p, r, t in zip(table.p, table.rho, table.tau, strict=True)]
    cleaned = clean(table, pd.DataFrame(), ["made"])
    return {str(dict(key.config)["p"]): make_cells(rows, cleaned.missing) for key, rows in split(cleaned.runs)}


COLLAPSE = [
    f"{name}{suffix}"
    for suffix in ("", "_runs")
    for name in (
        "r2_logit_scale",
        "r2_both",
        "partial_r2_rho_given_logit_scale",
        "slope_rho_given_logit_scale",
        "prediction_error_logit_scale",
        "prediction_error_rho",
        "prediction_error_both",
        "spline_f",
        "spline_p",
        "spline_delta_aic",
    )
]


@pytest.fixture(scope="module")
def fitted(families):
    return collapse(families["59"], resamples=20, seed=0)


@pytest.mark.parametrize("name", COLLAPSE)
def test_fits_predictions_and_splines_are_those_of_lm_and_ns(name, fitted, expected):
    assert fitted[name].value == pytest.approx(expected[name], rel=1e-6)


def test_the_mixed_model_is_that_of_lme4(fitted, expected):
    for name in (
        "mixed_slope_logit_scale",
        "mixed_slope_rho",
        "mixed_sd_seed",
        "mixed_sd_residual",
        "mixed_intraclass_correlation",
    ):
        assert fitted[name].value == pytest.approx(expected[name], rel=1e-4), name
    low, high = fitted["mixed_slope_logit_scale"].interval[0], fitted["mixed_slope_rho"].interval[1]
    assert low == pytest.approx(expected["mixed_slope_logit_scale_low"], rel=1e-4)
    assert high == pytest.approx(expected["mixed_slope_rho_high"], rel=1e-4)


def test_the_law_is_that_of_lm_nls_and_optimize(families, expected):
    fit = law(families["59"], resamples=20, seed=0)
    for name in ("alpha_per_norm_unit", "r_squared", "alpha_per_norm_unit_runs"):
        assert fit[name].value == pytest.approx(expected[name], rel=1e-9), name
    for name in ("delta_aic_power", "delta_aic_saddle_node"):
        assert fit[name].value == pytest.approx(expected[name], abs=0.01), name
    assert fit["alpha_per_norm_unit"].interval[0] == pytest.approx(expected["alpha_per_norm_unit_low"], rel=1e-9)
    direct = fit["alpha_per_rho_fit_on_steps"]
    assert direct.value == pytest.approx(expected["alpha_per_rho_fit_on_steps"], rel=1e-5)
    # R interpolates its profile by a spline.
    ends = (expected["alpha_per_rho_fit_on_steps_low"], expected["alpha_per_rho_fit_on_steps_high"])
    assert direct.interval == pytest.approx(ends, rel=2e-3)


def test_the_shared_exponent_is_that_of_anova(families, expected):
    fit = shared_law(families)
    for name in ("shared_alpha_rho", "equal_alpha_rho_f", "equal_alpha_rho_p", "equal_alpha_rho_delta_aic"):
        assert fit[name].value == pytest.approx(expected[name], rel=1e-6), name
    assert fit["shared_alpha_rho"].interval[0] == pytest.approx(expected["shared_alpha_rho_low"], rel=1e-6)


def wide(runs, rho, tau):
    return runs[(runs.p == 59) & (runs.rho == rho) & (runs.tau == tau)].sort_values("seed").grokked_step.to_numpy(float)


def test_two_one_sided_tests_are_those_of_t_test(runs, expected):
    differences = np.log(wide(runs, 1.1, 1.3)) - np.log(wide(runs, 1.05, 1.3))
    for margin in (0.2, 0.5):
        mean, interval, p = tost(differences, margin)
        assert p == pytest.approx(expected[f"tost_p_{margin}"], rel=1e-6)
    assert mean == pytest.approx(expected["tost_mean"], rel=1e-9)
    assert interval[0] == pytest.approx(expected["tost_low"], rel=1e-9)


def test_percentile_and_bca_intervals_are_those_of_boot(runs, expected):
    """R drew its own 200,000 resamples, so ends agree to the error of 100,000 and 200,000 draws."""
    both = np.column_stack([wide(runs, 1.15, 1.0), wide(runs, 1.0, 1.0)])

    def ratio(lists):
        drawn = both[lists].mean(axis=1)
        return drawn[:, 0] / drawn[:, 1]

    values, whole = ratio(draw(12, 100_000, 0)), float(ratio(np.arange(12)[None])[0])
    jackknife = ratio(np.array([np.delete(np.arange(12), i) for i in range(12)]))
    assert whole == pytest.approx(expected["ratio"], rel=1e-9)
    width = expected["ratio_percentile_high"] - expected["ratio_percentile_low"]
    for kind, (interval, _) in (
        ("percentile", percentile_interval(values)),
        ("bca", bca_interval(values, whole, jackknife)),
    ):
        ends = (expected[f"ratio_{kind}_low"], expected[f"ratio_{kind}_high"])
        assert interval == pytest.approx(ends, abs=0.015 * width), kind


def test_bca_is_that_of_scipy_on_the_same_resamples(runs):
    sample = wide(runs, 1.15, 1.0)
    result = stats.bootstrap((sample,), np.mean, n_resamples=5000, method="BCa", rng=np.random.default_rng(3))
    jackknife = np.array([np.delete(sample, i).mean() for i in range(len(sample))])
    interval, _ = bca_interval(result.bootstrap_distribution, float(sample.mean()), jackknife)
    assert interval == pytest.approx(tuple(result.confidence_interval), abs=1e-3 * np.ptp(interval))


def test_aic_and_aicc_are_those_of_r_s_likelihoods():
    with (PARITY / "aicc_doses.csv").open() as file:
        doses = [(float(r["rho"]), float(r["grokked_step"])) for r in csv.DictReader(file)]
    with (PARITY / "aicc.csv").open() as file:
        theirs = {r["name"]: float(r["value"]) for r in csv.DictReader(file)}
    fit = law(tuple(cell(rho, 1.0, np.full(2, t), np.full(2, 24 * rho)) for rho, t in doses), resamples=0, seed=0)
    for form in ("power", "saddle_node"):
        assert fit[f"delta_aic_{form}"].value == pytest.approx(theirs[f"aic_{form}"], abs=0.01), form
    for score in ("aic", "aicc"):
        best = min(theirs[f"{score}_power"], theirs[f"{score}_saddle_node"])
        assert fit[f"delta_{score}_vs_best_alternative"].value == pytest.approx(best, abs=0.01), score


def test_too_few_cells_have_no_aicc(families):
    fit = law(families["59"], resamples=0, seed=0)
    x = np.array([c.rho * W_C for c in fit.cells])
    y = np.log([c.grokked_step.value for c in fit.cells])
    assert len(x) == 4
    assert fit["delta_aicc_vs_best_alternative"].value is None  # n = 4 leaves none for three parameters and a variance
    residuals = y - np.polyval(np.polyfit(x, y, 1), x)
    assert fit["r_squared"].value == pytest.approx(1 - (residuals**2).sum() / ((y - y.mean()) ** 2).sum())
