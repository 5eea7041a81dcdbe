"""Intervals of a cell's own numbers, against scipy's and statsmodels', with and without censored runs."""

import numpy as np
import pytest
from scipy.stats import quantile_test
from statsmodels.stats.weightstats import DescrStatsW

from grok_sweeps.analysis.table.cells import mean_over_seeds
from grok_sweeps.analysis.table.ranks import median_interval


@pytest.mark.parametrize("n", [6, 7, 8, 9, 12, 16, 25, 40])
def test_the_interval_of_a_median_is_that_of_scipys_quantile_test(n):
    values = np.random.default_rng(n).permutation(np.arange(n) * 25.0 + 1000)
    ours, why = median_interval(values.tolist())
    theirs = quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    assert (ours, why) == ((theirs.low, theirs.high), "")


def test_few_seeds_have_no_exact_interval():
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == (
        None,
        "5 seeds are too few for an exact 95% interval of a median, 6 are needed",
    )


def test_a_censored_run_counts_at_its_rank():
    steps = [float(s) for s in range(1000, 2000, 100)]
    assert median_interval([*steps, np.inf, np.inf])[0] == (1200.0, 1900.0)
    interval, why = median_interval([*steps[:8], *[np.inf] * 4])
    assert interval is None
    assert "beyond the budget" in why
    assert "lower end: 1,200" in why


def test_the_interval_of_a_median_covers_at_least_at_its_level():
    rng = np.random.default_rng(0)
    draws = rng.lognormal(8, 0.1, (2000, 12))
    covered = np.mean([low <= np.exp(8) <= high for (low, high), _ in map(median_interval, draws.tolist())])
    assert 0.945 <= covered <= 0.985, f"covered {covered:.3f}, 0.961 by the binomial distribution"


def test_the_interval_of_a_mean_is_that_of_statsmodels():
    values = np.random.default_rng(1).normal(24, 1, 12).tolist()
    assert mean_over_seeds("mean", "", values).interval == pytest.approx(DescrStatsW(values).tconfint_mean(0.05))
    assert mean_over_seeds("mean", "", values[:1]).interval_reason == "one seed has no spread"
