"""Whatever the rows, survival, mediation and mediators are values with numbers or reasons: never a traceback."""

import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grok_sweeps.analysis.estimators.mediation import mediation
from grok_sweeps.analysis.estimators.mediators import mediators
from grok_sweeps.analysis.estimators.survival import survival
from grok_sweeps.analysis.table.cells import make_cells
from grok_sweeps.analysis.table.families import split
from grok_sweeps.analysis.table.tables import clean

ODD = st.fixed_dictionaries(
    {
        "seed": st.sampled_from([0, 1, 2, 3, None]),
        "rho": st.sampled_from([1.0, 1.05, 1.15, None]),
        "tau": st.sampled_from([1.0, 1.7, 0.0, -1.0, None]),
        "arm": st.sampled_from(["clamp", "clamp", "free"]),
        "outcome": st.sampled_from(["grokked", "grokked", "censored", "diverged", "failed", None]),
        "grokked_step": st.sampled_from([None, 25, 1000, 2500, 2525]),
        "steps_run": st.sampled_from([None, 0, 2500, 60_000]),
        "eval_every": st.sampled_from([None, 25, 0, 5000]),
        "logit_scale_at_grok": st.sampled_from([None, float("nan"), -2.0, 0.0, 20.0, 31.0]),
        "grad_norm_at_grok": st.sampled_from([None, 0.0, 0.1, 0.3]),
        "turn_angle_at_grok": st.sampled_from([None, 0.1, 0.2]),
    }
)


def estimates(rows, make_runs, **columns):
    tables = clean(make_runs(rows).assign(**columns), pd.DataFrame(), ["made"])
    for _, family in split(tables.runs):
        cells = make_cells(family, tables.missing)
        held, effects = survival(cells, family), mediation(cells, resamples=20, seed=0)
        rivals = mediators(cells, family, resamples=20, seed=0)
        yield from (*held.estimates, *(m.median for m in held.medians))
        for fitted in (effects.runs, effects.paper, rivals.runs, rivals.paper):
            yield from fitted.estimates


def check(found):
    for estimate in found:
        assert (estimate.value is None) == bool(estimate.reason)
        assert estimate.method
        assert estimate.interval is None or estimate.interval[0] <= estimate.interval[1]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(ODD, max_size=30))
def test_any_mixture_of_odd_rows_is_analysed(rows, make_runs):
    check(estimates(rows, make_runs))


def test_every_missing_column_is_met(make_runs, grid):
    rows = grid(seeds=3)
    for column in make_runs(rows[:1]).columns:
        tables = clean(make_runs(rows).drop(columns=column), pd.DataFrame(), ["made"])
        for _, family in split(tables.runs):
            cells = make_cells(family, tables.missing)
            check(survival(cells, family).estimates)
            check(mediators(cells, family, resamples=10, seed=0).runs.estimates)
            check(mediation(cells, resamples=10, seed=0).paper.estimates)
