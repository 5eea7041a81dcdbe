"""Do the intervals of mediators, Cox and accelerated failure time models cover? Rates in the messages.

Rates measured with more sets than here are in `parity/README.md`.
"""

from __future__ import annotations

import numpy as np
import pytest

from grok_sweeps.analysis.estimators.mediation import mediation
from grok_sweeps.analysis.estimators.mediators import mediators
from grok_sweeps.analysis.estimators.survival import survival
from tests.analysis.simulated import slack
from tests.analysis.simulated_causes import censored, with_rivals

pytestmark = pytest.mark.slow
OF_MANY_SEEDS = {
    "r2_all": 0.9355,
    "partial_r2_logit_scale_given_grad_norm": 0.9303,
    "partial_r2_grad_norm_given_logit_scale": 0.4413,
    "partial_r2_turn_angle_given_logit_scale": 0.0,
    "lmg_share_logit_scale": 0.5847,
    "lmg_share_grad_norm": 0.0501,
    "lmg_share_preactivation_rms": 0.2879,
}
"""By convention runs, of 20,001 seeds of the same law."""


def test_intervals_of_mediators_cover_those_of_very_many_seeds():
    n = 120
    hits = dict.fromkeys(OF_MANY_SEEDS, 0)
    for i in range(n):
        fitted = mediators(*with_rivals(np.random.default_rng(i)), resamples=400, seed=0).runs
        for name, truth in OF_MANY_SEEDS.items():
            low, high = fitted[name].interval
            hits[name] += low <= truth <= high
    rates = {name: count / n for name, count in hits.items()}
    assert min(rates.values()) > 0.8, f"coverage {rates} of 0.95"
    assert rates["partial_r2_turn_angle_given_logit_scale"] > 0.95 - slack(n), f"coverage {rates} of 0.95"


SHARES_OF_MANY_SEEDS = {
    "lmg_share_logit_scale": 0.4142,
    "lmg_share_grad_norm": 0.2468,
    "lmg_share_update_norm": 0.0059,
    "lmg_share_turn_angle": 0.1253,
    "lmg_share_preactivation_rms": 0.2079,
}
"""By convention paper, of 4,001 seeds with `apart` 0.1."""
DIFFERENCES_OF_MANY_SEEDS = {"acme": 0.0073, "ade": -0.0053, "total_effect": 0.0020, "acme_zero_correlation": -0.1106}
"""Runs minus paper of the same seeds."""
ZERO_CORRELATION = {"runs": 0.8830, "paper": 0.9920}
"""At which ACME is zero, of the same seeds."""


def test_intervals_of_shares_by_cells_and_of_differences_cover_those_of_very_many_seeds():
    """Percentiles cover the share of L in 76 %, the zero correlation by cells in 34 % and its difference in 56 %."""
    n = 120
    hits = dict.fromkeys((*SHARES_OF_MANY_SEEDS, *DIFFERENCES_OF_MANY_SEEDS, *ZERO_CORRELATION), 0)
    for i in range(n):
        cells, rows = with_rivals(np.random.default_rng(i), apart=0.1)
        shares = mediators(cells, rows, resamples=400, seed=0).paper
        effects = mediation(cells, resamples=400, seed=0)
        found = {name: (shares[name], truth) for name, truth in SHARES_OF_MANY_SEEDS.items()}
        found |= {name: (effects.difference(name), truth) for name, truth in DIFFERENCES_OF_MANY_SEEDS.items()}
        zeros = {"runs": effects.runs["acme_zero_correlation"], "paper": effects.paper["acme_zero_correlation"]}
        found |= {convention: (zeros[convention], truth) for convention, truth in ZERO_CORRELATION.items()}
        for name, (estimate, truth) in found.items():
            low, high = estimate.interval
            assert -1 <= low <= estimate.value <= high
            hits[name] += low <= truth <= high
    rates = {name: count / n for name, count in hits.items()}
    assert min(rates.values()) > 0.8, f"coverage {rates} of 0.95"
    assert max(rates[name] for name in DIFFERENCES_OF_MANY_SEEDS) < 1, f"coverage {rates} of 0.95"


@pytest.mark.parametrize("weibull", [True, False])
def test_slopes_with_censored_runs_cover(weibull):
    """True slopes: 6 of ln T on rho, so −20 of the hazard under the Weibull law, and 0 on ln tau."""
    n = 60
    law = "weibull" if weibull else "lognormal"
    truths = {f"aft_{law}_rho": 6.0, f"aft_{law}_ln_tau": 0.0}
    if weibull:
        truths |= {"cox_rho": -20.0, "cox_ln_tau": 0.0}
    hits = dict.fromkeys(truths, 0)
    for i in range(n):
        made = censored(np.random.default_rng(i), weibull=weibull, between=0.0 if weibull else 0.1)
        fitted = survival(*made)
        for name, truth in truths.items():
            low, high = fitted[name].interval
            hits[name] += low <= truth <= high
    rates = {name: count / n for name, count in hits.items()}
    assert min(rates.values()) > 0.95 - slack(n), f"coverage {rates} of 0.95"
