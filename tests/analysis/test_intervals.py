"""Which interval stands at which number, what each does, and that its method says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

from grok_sweeps.analysis.estimators.collapse import collapse
from grok_sweeps.analysis.estimators.law import law
from grok_sweeps.analysis.estimators.mediators import mediators
from grok_sweeps.analysis.estimators.recovery import recoveries
from grok_sweeps.analysis.estimators.same_state import PUBLISHED, same_state
from grok_sweeps.analysis.estimators.survival import survival
from grok_sweeps.analysis.methods.bootstrap import (
    basic_interval,
    bca_interval,
    expanded_level,
    percentile_interval,
    positive_interval,
    r2_interval,
    share_interval,
)
from grok_sweeps.analysis.methods.medians import Medians
from grok_sweeps.analysis.methods.mixed import mixed_model
from grok_sweeps.analysis.methods.resampled import Kind, Seeds, estimated
from tests.analysis.found import estimates_in
from tests.analysis.simulated import cell, grid
from tests.analysis.simulated_causes import censored, with_rivals
from tests.analysis.test_simulated import points, recovery_cells

DRAWN = np.random.default_rng(0).normal(0.6, 0.05, 4000)


def test_the_expanded_level_gives_a_normal_mean_its_t_interval():
    for n_seeds in (5, 12, 16):
        quantile = norm.ppf((1 + expanded_level(n_seeds)) / 2) * np.sqrt((n_seeds - 1) / n_seeds)
        assert quantile == pytest.approx(t.ppf(0.975, n_seeds - 1))


def test_a_basic_interval_is_the_percentile_interval_reflected_and_holds_the_value():
    low, high = percentile_interval(DRAWN)[0]
    assert basic_interval(DRAWN, 0.62)[0] == pytest.approx((1.24 - high, 1.24 - low))
    assert basic_interval(DRAWN, 0.3)[0] == pytest.approx((0.6 - high, 0.3))


def test_an_interval_of_r2_is_reflected_in_what_is_left_unexplained_and_never_below_zero():
    low, high = percentile_interval(DRAWN)[0]
    lowest, highest = r2_interval(DRAWN, 0.6)[0]
    assert 1 - lowest == pytest.approx(0.4**2 / (1 - high))
    assert 1 - highest == pytest.approx(0.4**2 / (1 - low))
    assert r2_interval(np.abs(DRAWN - 0.6), 0.01)[0][0] == 0.0
    assert r2_interval(np.full(40, np.nan), 0.5)[0] is None
    assert r2_interval(np.full(40, 1.0), 1.0)[0] == pytest.approx((1.0, 1.0))


def test_an_interval_of_a_positive_quantity_is_reflected_in_its_logarithm_and_holds_the_value():
    low, high = percentile_interval(DRAWN)[0]
    assert positive_interval(DRAWN, 0.62)[0] == pytest.approx((0.62**2 / high, 0.62**2 / low))
    assert positive_interval(DRAWN, 0.3)[0] == pytest.approx((0.09 / high, 0.3))
    assert positive_interval(DRAWN, 0.0) == (None, positive_interval(DRAWN, 0.0)[1])
    assert "the value is 0" in positive_interval(DRAWN, 0.0)[1]


def test_an_error_of_prediction_lies_in_its_interval_and_the_method_says_why():
    made = collapse(grid(np.random.default_rng(4)), resamples=400, seed=0)
    for estimate in made.prediction:
        assert estimate.interval[0] <= estimate.value <= estimate.interval[1], estimate
        assert Kind.POSITIVE in estimate.method
    assert all("an end that would leave the value out is put at the value" in k for k in (Kind.BASIC, Kind.R2))
    assert "and one below 0 at 0" in Kind.R2


def test_an_interval_of_a_share_is_reflected_in_the_arcsine_of_its_root_and_stays_within_0_and_1():
    low, high = percentile_interval(DRAWN)[0]
    middle = np.arcsin(np.sqrt(0.62))
    expected = [np.sin(2 * middle - np.arcsin(np.sqrt(end))) ** 2 for end in (high, low)]
    assert share_interval(DRAWN, 0.62)[0] == pytest.approx(expected)
    assert share_interval(DRAWN, 0.3)[0][1] == 0.3
    assert share_interval(DRAWN, 0.98)[0][1] == pytest.approx(1.0)
    assert share_interval(np.abs(DRAWN - 0.6), 0.001)[0][0] == 0.0
    assert share_interval(np.full(40, np.nan), 0.5)[0] is None


@pytest.mark.parametrize("value", [0.0, -1e-17, 1e-16, 1.0, 1 - 1e-16])
def test_a_share_of_nothing_or_all_has_a_reason_instead_of_an_interval_of_one_point(value):
    ends, why = share_interval(DRAWN, value)
    assert ends is None
    assert why == "the value is 0 or 1, an end of what a share can be, about which nothing can be reflected"


def test_values_that_differ_by_rounding_are_ties_in_bca():
    values, jackknife = np.repeat([1.0, 2.0, 3.0], 100), np.array([1.0, 2.0, 2.5, 3.0])
    rounded = values * (1 + 1e-15 * np.tile([-1, 0, 1], 100))
    assert bca_interval(rounded, 2.0, jackknife)[0] == pytest.approx(bca_interval(values, 2.0, jackknife)[0])


def test_the_same_statistic_has_a_wider_interval_where_it_is_not_as_published():
    values = np.random.default_rng(1).normal(size=12)
    made = {
        kind: estimated(
            "mean", "1", "Mean.", lambda i: values[i].mean(axis=1), Seeds(12, 2000, 0), undefined="", kind=kind
        )
        for kind in (Kind.EXPANDED, Kind.PUBLISHED)
    }
    widths = {kind: np.ptp(e.interval) for kind, e in made.items()}
    assert widths[Kind.EXPANDED] / widths[Kind.PUBLISHED] == pytest.approx(1.16, abs=0.04)
    assert made[Kind.PUBLISHED].method.endswith(Kind.PUBLISHED)
    assert all(e.level == 0.95 for e in made.values())


def fork(rho, steps):
    return replace(cell(rho, 1.0, steps, np.full(12, 20.0)), arm="fork", fork_step=800.0)


def test_only_what_the_paper_printed_an_interval_of_has_a_plain_one():
    rng = np.random.default_rng(3)
    arms = [fork(rho, 800 + np.exp(6 + 5 * rho + rng.normal(0, 0.1, 12))) for rho in (1 / 1.15, 1.0, 1.15)]
    cells = grid(rng)
    found = [
        *same_state(arms, (), resamples=20, seed=0),
        *collapse(cells, resamples=20, seed=0).everything,
        *law(cells, resamples=20, seed=0).estimates,
        *estimates_in(recoveries(recovery_cells(rng), loss="ce", resamples=20, seed=0)),
        *mediators(*with_rivals(rng), resamples=20, seed=0).runs.estimates,
    ]
    plain = {e.name for e in found if Kind.PUBLISHED in e.method}
    assert plain == {PUBLISHED, "recovery_fraction"}
    told = [e for e in found if e.resampling]
    assert len(told) > 80
    assert all(sum(kind in e.method for kind in Kind) == 1 for e in told)


def test_r2_is_read_as_r2_and_its_differences_are_not():
    made = collapse(grid(np.random.default_rng(4)), resamples=50, seed=0)
    assert Kind.R2 in made["partial_r2_rho_given_logit_scale_runs"].method
    assert Kind.BASIC in made["delta_r2_rho_given_logit_scale"].method
    assert Kind.BASIC in made["r2_rho_runs_minus_paper"].method
    assert Kind.EXPANDED in made["slope_rho_runs"].method
    assert Kind.BASIC in made["slope_rho_runs_minus_paper"].method


def test_a_reading_that_does_nothing_has_a_partial_r2_whose_interval_holds_zero():
    found = mediators(*with_rivals(np.random.default_rng(5)), resamples=400, seed=0).runs
    assert found["partial_r2_turn_angle_given_logit_scale"].interval[0] == 0.0
    assert found["partial_r2_logit_scale_given_turn_angle"].interval[0] > 0.5


def test_medians_of_runs_that_all_grokked_are_the_same_with_all_runs():
    pair = Medians(grid(np.random.default_rng(6))[:2], resamples=50, seed=0)
    one, all_runs = pair.contrast("ratio", "", lambda m: m[:, 0] / m[:, 1])
    assert one.interval == all_runs.interval


@pytest.mark.parametrize("seed", [1, 5, 16, 19])
def test_a_mixed_model_of_two_cells_has_a_fit(seed):
    """L-BFGS steps to a variance between seeds at which statsmodels has nothing to solve, in 50 of 180 small tables."""
    made = points(np.random.default_rng(seed), rhos=(1.0, 1.15), taus=(1.0,), between=0.08, within=0.08)
    assert all(e.value is not None for e in mixed_model(made))


def test_cox_has_a_reason_where_doses_do_not_overlap():
    rng = np.random.default_rng(7)
    cells, rows = censored(rng, weibull=True)
    apart = tuple(
        cell(c.rho, c.tau, 1000 * 10 ** (20 * (c.rho - 1)) * rng.uniform(1, 1.01, 12), np.full(12, 24.0)) for c in cells
    )
    found = survival(apart, rows)
    assert "no maximum" in found["cox_rho"].reason
    assert found["aft_weibull_rho"].value is not None
