"""Do intervals cover and tests err at the rate they state? Data of known law, hundreds of sets, rates in the messages.

Rates measured with more sets than here are in `parity/README.md`. An interval from 12 seeds is not exact: what is
asserted is the nominal rate within three standard errors where theory gives it, and a floor elsewhere.
"""

from __future__ import annotations

import numpy as np
import pytest

from grok_sweeps.analysis.estimators.collapse import QUANTITIES
from grok_sweeps.analysis.estimators.equivalence import MARGIN, tost
from grok_sweeps.analysis.estimators.law import law
from grok_sweeps.analysis.estimators.recovery import recoveries
from grok_sweeps.analysis.estimators.shared_law import shared_law
from grok_sweeps.analysis.methods.bootstrap import draw, seed_table
from grok_sweeps.analysis.methods.convention import PAPER, RUNS
from grok_sweeps.analysis.methods.forms import power_profile, slope_profile, steps_profile
from grok_sweeps.analysis.methods.medians import Medians
from grok_sweeps.analysis.methods.mixed import mixed_model
from grok_sweeps.analysis.methods.points import Points
from grok_sweeps.analysis.methods.resampled import Kind, interval_of
from grok_sweeps.analysis.methods.spline import spline_check
from tests.analysis.simulated import N_SEEDS, cell, coverage, grid, slack

pytestmark = pytest.mark.slow
DOSES = np.linspace(0.85, 1.15, 7)
RECOVERY_GRID = {"rhos": (1.0, 1.15), "taus": (1.0, 1.3, 1.6, 2.0), "direct": 2.0}


def points(rng, convention=RUNS, **law):
    cells = grid(rng, **law)
    return Points(seed_table(cells), np.array([c.rho for c in cells]), convention)


def test_the_profile_interval_of_the_exponent_covers_at_its_nominal_rate():
    n = 1000
    rate = coverage(n, lambda rng: slope_profile(1 + 7.5 * DOSES + rng.normal(0, 0.08, 7), DOSES)[1], 7.5)
    assert abs(rate - 0.95) < slack(n), f"coverage {rate:.3f} of 0.95"


def test_profiles_of_the_nonlinear_forms_cover_nearly_at_their_nominal_rate():
    n = 300
    rates = {
        "fit on steps": coverage(
            n,
            lambda rng: (steps_profile(np.exp(1 + 7.5 * DOSES) + rng.normal(0, 60, 7), DOSES) or (0, None))[1],
            7.5,
        ),
        "power": coverage(
            n, lambda rng: power_profile(9 + 3 * np.log(DOSES - 0.5) + rng.normal(0, 0.05, 7), DOSES)[1], 3.0
        ),
    }
    assert all(rate > 0.95 - slack(n) for rate in rates.values()), f"coverage {rates} of 0.95"


def test_the_mixed_models_slopes_cover_where_the_seed_matters():
    n = 40
    rates = [
        coverage(n, lambda rng, place=place: mixed_model(points(rng, direct=2.0))[place].interval, truth)
        for place, truth in ((0, 0.12), (1, 2.0))
    ]
    assert min(rates) > 0.95 - slack(n), f"coverage {rates} of 0.95"


COLLAPSE = {q.name: q for q in QUANTITIES}


def collapse_interval(name, convention):
    """Of one quantity of the collapse, as `collapse` reads it."""
    quantity, lists = COLLAPSE[name], draw(N_SEEDS, 400, 0)
    whole = np.arange(N_SEEDS)[None]

    def interval(rng):
        made = points(rng, convention, direct=2.0)
        drawn, value = quantity.of(made.fits(lists)), float(quantity.of(made.fits(whole))[0])
        return interval_of(quantity.kind, drawn, value, N_SEEDS)[0]

    return interval


@pytest.mark.parametrize("convention", [PAPER, RUNS])
def test_the_cluster_bootstrap_of_the_collapse_covers(convention):
    n = 150
    rate = coverage(n, collapse_interval("slope_rho_given_logit_scale", convention), 2.0)
    assert rate > 0.95 - slack(n), f"coverage {rate:.3f} of 0.95"


@pytest.mark.parametrize(
    ("name", "truth", "floor"),
    [
        ("r2_rho", 0.5966, 0.89),
        ("r2_logit_scale", 0.9670, 0.85),
        ("delta_r2_rho_given_logit_scale", 0.0155, 0.89),
        ("partial_r2_rho_given_logit_scale", 0.4712, 0.82),
    ],
)
def test_r2_of_runs_covers_that_of_very_many_seeds(name, truth, floor):
    """The truths are those of 20,001 seeds of the same law."""
    n = 150
    rate = coverage(n, collapse_interval(name, RUNS), truth)
    assert rate > floor, f"coverage {rate:.3f} of 0.95"


def test_the_exponent_over_seeds_covers_by_both_conventions():
    n = 120

    def doses(rng):
        own = rng.normal(0, 0.1, N_SEEDS)
        steps = (np.exp(1 + 7.5 * r + own + rng.normal(0, 0.1, N_SEEDS)) for r in DOSES)
        return tuple(cell(r, 1.0, t, np.full(N_SEEDS, 24.0 * r)) for r, t in zip(DOSES, steps, strict=True))

    names = ("alpha_per_rho_over_seeds", "alpha_per_rho_runs")
    fitted = [law(doses(np.random.default_rng(i)), resamples=400, seed=0) for i in range(n)]
    rates = [np.mean([f[name].interval[0] <= 7.5 <= f[name].interval[1] for f in fitted]) for name in names]
    assert min(rates) > 0.95 - slack(n), f"coverage {rates} of 0.95"


def test_the_spline_check_finds_curvature_in_a_line_at_five_per_cent():
    n = 200
    rate = np.mean([spline_check(points(np.random.default_rng(i)), n_runs=1)[1].value < 0.05 for i in range(n)])
    assert rate < 0.05 + slack(n, 0.05), f"false positives {rate:.3f} of 0.05"


def test_equivalence_is_claimed_at_the_margin_five_times_in_a_hundred():
    n = 1000
    rate = np.mean([tost(np.random.default_rng(i).normal(MARGIN, 0.15, N_SEEDS))[2] < 0.05 for i in range(n)])
    assert abs(rate - 0.05) < slack(n, 0.05), f"false positives {rate:.3f} of 0.05"


def test_equal_exponents_are_called_different_at_five_per_cent():
    n = 100

    def rejects(i):
        rng = np.random.default_rng(i)
        families = {
            p: tuple(
                cell(r, 1.0, np.full(2, np.exp(1 + 7.5 * r + rng.normal(0, 0.08))), np.full(2, 24 * r)) for r in DOSES
            )
            for p in ("43", "59", "97")
        }
        return shared_law(families)["equal_alpha_rho_p"].value < 0.05

    rate = np.mean([rejects(i) for i in range(n)])
    assert rate < 0.05 + slack(n, 0.05), f"false positives {rate:.3f} of 0.05"


@pytest.mark.parametrize(("kind", "floor"), [(Kind.EXPANDED, 0.94), (Kind.PUBLISHED, 0.91), (Kind.BCA, 0.86)])
def test_the_ratio_of_medians_covers_over_twelve_seeds(kind, floor):
    n = 200

    def interval(rng):
        own = rng.normal(0, 0.1, N_SEEDS)
        slow, fast = (np.exp(mean + own + rng.normal(0, 0.1, N_SEEDS)) for mean in (9.0, 8.0))
        pair = Medians([cell(1.15, 1.0, slow, slow), cell(1.0, 1.0, fast, fast)], resamples=600, seed=0)
        return pair.contrast("ratio", "", lambda m: m[:, 0] / m[:, 1], kind=kind)[0].interval

    rate = coverage(n, interval, np.e)
    assert rate > floor, f"coverage {rate:.3f} of 0.95"


def recovery_cells(rng):
    return tuple(c for c in grid(rng, **RECOVERY_GRID) if c.rho != 1.0 or c.tau == 1.0)


TRUE_RECOVERY = 0.8927
"""Of the medians and means over 20,001 seeds of the same law."""


@pytest.mark.parametrize(
    ("name", "floor"),
    [("runs_fixed_percentile", 0.91), ("runs_drawn_percentile", 0.91), ("runs_drawn_bca", 0.86)],
)
def test_the_recovery_fraction_covers(name, floor):
    n = 100

    def interval(rng):
        return recoveries(recovery_cells(rng), loss="ce", resamples=400, seed=0)[f"recovery_fraction_{name}"].interval

    rate = coverage(n, interval, TRUE_RECOVERY)
    assert rate > floor, f"coverage {rate:.3f} of 0.95"
