"""Cells: order statistics under censoring, counts, and repairs of odd tables."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_sweeps.analysis import Analysis, analyze
from grok_sweeps.analysis.table.ranks import order_statistic


def censored(**values):
    return {"grokked_step": None, "outcome": "censored", **values}


def test_the_median_is_that_of_numpy_where_every_run_grokked(cells_of):
    steps = [1000, 1200, 900, 4000]
    (cell,) = cells_of({"seed": i, "grokked_step": t} for i, t in enumerate(steps))
    assert cell.grokked_step.value == np.median(steps)
    assert cell.delay.value == np.median(steps) - 175
    assert (cell.spread.minimum, cell.spread.maximum) == (900, 4000)


def test_a_censored_run_counts_as_infinity_and_is_not_dropped(cells_of):
    rows = [{"seed": i, "grokked_step": t} for i, t in enumerate([1000, 1200, 1400])]
    (cell,) = cells_of([*rows, censored(seed=3), censored(seed=4)])
    assert cell.grokked_step.value == 1400  # the third of five, not the middle of the three that grokked
    assert (cell.n_runs, cell.n_grokked, cell.n_censored) == (5, 3, 2)
    assert cell.spread.maximum is None


def test_a_cell_with_half_of_its_runs_censored_has_no_median_but_a_reason(cells_of):
    rows = [{"seed": 0, "grokked_step": 1000}, {"seed": 1, "grokked_step": 1100}, censored(seed=2), censored(seed=3)]
    (cell,) = cells_of(rows)
    assert cell.grokked_step.value is None
    assert "2 of 4 runs did not reach it" in cell.grokked_step.reason
    assert cell.memorized_step.value == 175


def test_failed_runs_are_not_counted_in_the_median_and_this_is_said(cells_of):
    rows = [{"seed": 0, "grokked_step": 1000}, {"seed": 1, "grokked_step": None, "outcome": "failed"}]
    (cell,) = cells_of(rows)
    assert cell.grokked_step.value == 1000
    assert cell.grokked_step.n_runs == 1
    assert cell.grokked_step.left_out == ("1 failed",)


def test_a_diverged_run_never_groks(cells_of):
    rows = [{"seed": i, "grokked_step": 1000} for i in range(2)]
    rows += [{"seed": 2 + i, "grokked_step": None, "outcome": "diverged"} for i in range(2)]
    (cell,) = cells_of(rows)
    assert cell.grokked_step.value is None
    assert cell.n_diverged == 2


@given(
    st.lists(st.one_of(st.integers(1, 10**6).map(float), st.just(math.inf)), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)
def test_order_statistics_agree_with_numpy_on_the_finite_ranks(values, quantile):
    finite = [v if math.isfinite(v) else 1e15 for v in values]
    ours = order_statistic(values, quantile)
    at = quantile * (len(values) - 1)
    if math.isinf(sorted(values)[math.ceil(at)]):
        assert ours is None
    else:
        assert ours == pytest.approx(np.quantile(finite, quantile))


def test_a_run_that_occurs_twice_counts_once(make_runs, no_curves):
    runs = make_runs({"seed": i, "grokked_step": 1000 + i} for i in range(3))
    analysis = analyze(pd.concat([runs, runs.iloc[:1]]), no_curves, sweep=["made"])
    assert analysis.families[0].cells[0].n_runs == 3
    assert any("repeated rows" in note for note in analysis.notes)


def test_a_step_of_minus_one_is_not_reached(cells_of):
    (cell,) = cells_of({"seed": i, "grokked_step": -1, "outcome": "censored"} for i in range(3))
    assert cell.n_censored == 3
    assert cell.grokked_step.value is None


def test_a_row_that_contradicts_itself_is_left_out_and_named(make_runs, no_curves):
    runs = make_runs([{"seed": 0, "grokked_step": 1000}, {"seed": 1, "grokked_step": None, "outcome": "grokked"}])
    analysis = analyze(runs, no_curves, sweep=["made"])
    assert analysis.families[0].cells[0].grokked_step.n_runs == 1
    assert analysis.counts.n_unknown == 1
    assert any("contradicts" in note for note in analysis.notes)


def test_moduli_losses_and_learning_rates_are_families_of_their_own(make_runs, no_curves):
    rows = [{"p": p, "loss": loss, "grokked_step": 1000} for p in (97, 59) for loss in ("ce", "mse")]
    analysis = analyze(make_runs(rows), no_curves, sweep=["made"])
    titles = [family.key.title for family in analysis.families]
    assert titles == ["p = 59, loss = ce", "p = 59, loss = mse", "p = 97, loss = ce", "p = 97, loss = mse"]


def test_the_title_of_a_single_family_is_its_modulus(make_runs, no_curves):
    analysis = analyze(make_runs([{"grokked_step": 1000}]), no_curves, sweep=["made"])
    assert [family.key.title for family in analysis.families] == ["p = 59"]


def test_of_two_cells_at_one_dose_and_temperature_the_longer_budget_is_used(cells_of):
    rows = [{"seed": s, "grokked_step": 1000, "max_steps": m} for s in range(3) for m in (2_000, 60_000)]
    cells = cells_of(rows)
    assert sorted((c.horizon_steps, bool(c.superseded)) for c in cells) == [(2_000, True), (60_000, False)]


def test_rows_of_other_sweeps_are_left_out(make_runs, no_curves):
    runs = make_runs([{"seed": 0, "grokked_step": 1000}, {"seed": 1, "sweep": "other", "grokked_step": 9000}])
    analysis = analyze(runs, no_curves, sweep="made", n_planned=4)
    assert analysis.counts.n_rows == 1
    assert analysis.counts.n_missing == 3


def test_an_analysis_does_not_change_its_tables(make_runs, no_curves):
    runs = make_runs({"seed": i, "grokked_step": 1000, "tau": None} for i in range(3))
    before = runs.copy(deep=True)
    assert isinstance(analyze(runs, no_curves, sweep="made"), Analysis)
    pd.testing.assert_frame_equal(runs, before)


def test_doses_of_another_pinned_norm_are_a_family_of_their_own_and_share_the_free_runs(make_runs, no_curves):
    doses = [
        {"w_c": w_c, "rho": rho, "seed": seed, "grokked_step": 2000, "logit_scale_at_grok": 20.0}
        for w_c in (50.0, 60.0)
        for rho in (1.0, 1.1)
        for seed in range(2)
    ]
    free = [{"arm": "free", "rho": None, "clamp_from_step": None, "seed": s, "grokked_step": 4000} for s in range(2)]
    runs = make_runs(
        [{"cell_id": f"{d['w_c']}-{d['rho']}", "run_id": f"d{i}", **d} for i, d in enumerate(doses)] + free
    )
    families = analyze(runs, no_curves, sweep="made").families
    assert [family.key.title for family in families] == ["p = 59, w_c = 50", "p = 59, w_c = 60"]
    for family in families:
        assert [(cell.arm, cell.n_runs) for cell in family.cells] == [("free", 2), ("clamp", 2), ("clamp", 2)]
        assert not any(cell.superseded for cell in family.cells)
