"""Whatever the table, an analysis is a value and its renderings are files: never a traceback."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grok_sweeps.analysis import analyze
from grok_sweeps.analysis.render import estimates_json, report_markdown, terminal_tables
from grok_sweeps.analysis.sections import family_sections
from grok_sweeps.schema import CURVE_COLUMNS, RUN_COLUMNS


def estimates(analysis):
    for family in analysis.families:
        for section in family_sections(family):
            yield from section.estimates
        for cell in family.cells:
            yield from cell.estimates
    for comparison in analysis.comparisons:
        yield from comparison.estimates


def check(analysis):
    for estimate in estimates(analysis):
        assert (estimate.value is None) == bool(estimate.reason)
        assert estimate.method
        assert estimate.interval is None or estimate.interval[0] <= estimate.interval[1]
    json.loads(estimates_json(analysis), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert terminal_tables(analysis)
    assert report_markdown(analysis)


def test_an_empty_table_has_no_family(no_curves):
    empty = pd.DataFrame({c.name: pd.Series(dtype=object) for c in RUN_COLUMNS})
    for runs, curves in ((empty, no_curves), (pd.DataFrame(), pd.DataFrame())):
        analysis = analyze(runs, curves, sweep="made", n_planned=3)
        assert analysis.families == ()
        assert analysis.counts.n_missing == 3
        check(analysis)


def test_a_table_of_censored_runs_has_reasons_only(make_runs, grid, no_curves):
    rows = [{**r, "grokked_step": None, "outcome": "censored", "logit_scale_at_grok": None} for r in grid()]
    analysis = analyze(make_runs(rows), no_curves, sweep=["made"])
    (family,) = analysis.families
    assert all(e.value is None for section in family_sections(family) for e in section.estimates)
    assert all(c.grokked_step.value is None for c in family.cells)
    assert len(family.survival.medians) == len(family.cells)
    check(analysis)


@pytest.mark.parametrize("column", [c.name for c in RUN_COLUMNS])
def test_a_missing_column_of_runs_gives_reasons_not_a_traceback(column, make_runs, grid, no_curves):
    runs = make_runs(grid(seeds=2)).drop(columns=column)
    check(analyze(runs, no_curves, sweep="made", resamples=20))


@pytest.mark.parametrize("column", [c.name for c in CURVE_COLUMNS])
def test_a_missing_column_of_curves_gives_notes_not_a_traceback(column, make_runs, make_curves, grid):
    runs = make_runs(grid(rhos=(1.0,), taus=(1.0,), seeds=2))
    analysis = analyze(runs, make_curves(runs).drop(columns=column), sweep="made", resamples=20)
    needed = column in ("run_id", "step", "train_accuracy", "test_accuracy")
    assert bool(analysis.families[0].curves) is not needed
    assert any(f"no column {column}" in note for note in analysis.notes) is needed


def test_without_the_logit_scale_the_reason_names_the_column(make_runs, grid, no_curves):
    runs = make_runs(grid()).drop(columns="logit_scale_at_grok")
    family = analyze(runs, no_curves, sweep="made").families[0]
    assert "no column logit_scale_at_grok" in family.collapse["r2_rho"].left_out[0]
    assert "no column logit_scale_at_grok" in family.recovery.paper.reason


def test_nullable_arrow_and_text_numbers_are_read_alike(make_runs, grid, no_curves):
    runs = make_runs(grid(seeds=3))
    plain = analyze(runs, no_curves, sweep="made", resamples=20)
    nullable = runs.convert_dtypes()
    text = runs.astype({"rho": str, "tau": str, "grokked_step": str})
    for table in (nullable, text):
        assert estimates_json(analyze(table, no_curves, sweep="made", resamples=20)) == estimates_json(plain)


def test_runs_without_seed_have_medians_but_no_intervals(make_runs, grid, no_curves):
    runs = make_runs(grid()).assign(seed=np.nan)
    fit = analyze(runs, no_curves, sweep="made").families[0].collapse
    assert fit["r2_logit_scale"].value is not None
    assert fit["r2_logit_scale"].interval_reason == "72 runs have no seed"


def test_no_resamples_give_no_interval(make_runs, grid, no_curves):
    fit = analyze(make_runs(grid()), no_curves, sweep="made", resamples=0).families[0].collapse
    assert fit["r2_rho"].interval is None
    assert fit["r2_rho"].interval_reason == "no resamples were asked for"


ODD = st.fixed_dictionaries(
    {
        "seed": st.sampled_from([0, 1, 2, None]),
        "rho": st.sampled_from([1.0, 1.15, None, float("nan"), float("inf")]),
        "tau": st.sampled_from([1.0, 1.7, None]),
        "arm": st.sampled_from(["clamp", "free", "allocation", None]),
        "outcome": st.sampled_from(["grokked", "censored", "diverged", "failed", "odd", None]),
        "grokked_step": st.sampled_from([None, -1, 25, 1000, 2500]),
        "memorized_step": st.sampled_from([None, -1, 175]),
        "logit_scale_at_grok": st.sampled_from([None, float("nan"), 0.0, 20.0, 31.0]),
        "p": st.sampled_from([59, 97, None]),
        "loss": st.sampled_from(["ce", "mse", None]),
    }
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(ODD, max_size=14))
def test_any_mixture_of_odd_rows_is_analysed(rows, make_runs, no_curves):
    check(analyze(make_runs(rows), no_curves, sweep="made", resamples=20))


@pytest.mark.parametrize(
    ("column", "factor", "first"),
    [
        ("grokked_step", 0.001, "a whole number from 1"),
        ("tau", 0.0, "above 0 and up to 1e+12"),
        ("rho", -1.0, "above 0 and up to 1e+12"),
    ],
)
def test_runs_in_a_wrong_unit_are_left_out_and_the_unit_is_named(column, factor, first, make_runs, grid, no_curves):
    runs = make_runs(grid(seeds=3))
    runs[column] = runs[column].astype(float) * factor
    analysis = analyze(runs, no_curves, sweep="made", resamples=20)
    assert any(f"values of {column} left out: {column} is {first}, the first is" in note for note in analysis.notes)
    assert analysis.counts.n_unknown == len(runs)
    assert all(e.value is None for e in estimates(analysis))
    check(analysis)


def test_a_reading_in_a_wrong_unit_is_left_out_and_the_run_stays(make_runs, make_curves, grid):
    runs = make_runs(grid(seeds=3)).assign(logit_scale_at_grok=-1.0)
    curves = make_curves(runs)
    curves["test_accuracy"] *= 100
    analysis = analyze(runs, curves, sweep="made", resamples=20)
    assert analysis.counts.n_grokked == len(runs)
    assert any("logit_scale_at_grok is from 0 to 1e+12, the first is -1" in note for note in analysis.notes)
    assert any("test_accuracy is from 0 to 1" in note for note in analysis.notes)
    check(analysis)


def test_a_run_that_grokked_after_it_ended_contradicts_itself(make_runs, grid, no_curves):
    analysis = analyze(make_runs(grid(seeds=2, steps_run=10)), no_curves, sweep="made", resamples=20)
    assert analysis.counts.n_unknown == 24
    assert any("steps_run contradicts their grokked_step" in note for note in analysis.notes)


@pytest.mark.parametrize(
    ("column", "value"),
    [("gamma", "0.3x"), ("gamma", [1]), ("fork_step", "abc"), ("heads", "many"), ("normalizer", 3), ("stop", [1, 2])],
)
def test_what_cannot_be_read_in_a_later_column_is_said(column, value, make_runs, grid, no_curves):
    runs = make_runs(grid(seeds=2))
    runs[column] = pd.Series([value] * len(runs), dtype=object)
    analysis = analyze(runs, no_curves, sweep="made", resamples=20)
    assert any(f"values of {column} left out" in note for note in analysis.notes) is (
        column not in ("normalizer", "stop")
    )
    check(analysis)


def test_numbers_with_a_comma_are_said_and_not_guessed_at(make_runs, grid, no_curves):
    rows = grid(seeds=2, taus=(1.0, 1.3))
    runs = make_runs(rows).drop(columns="cell_id")
    runs["tau"] = [f"{r['tau']:g}".replace(".", ",") for r in rows]
    runs["logit_scale_at_grok"] = "23,9"
    analysis = analyze(runs, no_curves, sweep="made", resamples=20)
    assert any("values of tau left out: no finite number, the first is '1,3'" in note for note in analysis.notes)
    assert any("values of logit_scale_at_grok left out" in note for note in analysis.notes)
    assert analysis.counts.n_unknown == len(runs) // 2
    assert {c.tau for c in analysis.families[0].cells} == {1.0}
    check(analysis)


def test_one_dose_written_in_two_ways_is_one_cell(make_runs, grid, no_curves):
    runs = make_runs(grid(seeds=4, taus=(1.0,)))
    runs.loc[::2, "rho"] = runs.loc[::2, "rho"].astype(np.float32).astype(float)
    (family,) = analyze(runs, no_curves, sweep="made", resamples=20).families
    assert [(c.rho, c.n_runs) for c in family.cells] == [(rho, 4) for rho in (1.0, 1.05, 1.1, 1.15)]


def test_fractions_of_seeds_are_no_seeds(make_runs, grid, no_curves):
    runs = make_runs(grid(seeds=2))
    runs["seed"] = runs["seed"] + 0.2
    analysis = analyze(runs, no_curves, sweep="made", resamples=20)
    assert any("seed is a whole number, the first is 0.2" in note for note in analysis.notes)
    assert "24 runs have no seed" in analysis.families[0].collapse["r2_rho"].interval_reason
