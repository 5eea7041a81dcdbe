"""Each analysis on data whose answer is known, and on what it cannot answer: a reason, never a traceback."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.allocation import allocation
from grok_sweeps.analysis.estimators.collapse import collapse
from grok_sweeps.analysis.estimators.dissociation import dissociation
from grok_sweeps.analysis.estimators.equivalence import equivalence
from grok_sweeps.analysis.estimators.law import law, law_cells
from grok_sweeps.analysis.estimators.memorisation import memorisation
from grok_sweeps.analysis.estimators.precision import precision
from grok_sweeps.analysis.estimators.recovery import recoveries
from grok_sweeps.analysis.estimators.same_state import same_state
from grok_sweeps.analysis.estimators.shared_law import shared_law
from grok_sweeps.analysis.estimators.transformer import transformer
from grok_sweeps.analysis.table.cells import make_cells
from grok_sweeps.analysis.table.families import split
from grok_sweeps.analysis.table.logged import with_logged_readings
from grok_sweeps.analysis.table.partners import BY_DTYPE, BY_LOSS, BY_MODULUS, partners
from grok_sweeps.analysis.table.tables import clean
from tests.analysis.simulated import N_SEEDS, cell, grid

FEW = {"resamples": 200, "seed": 0}


def named(estimates):
    return {e.name: e for e in estimates}


def everything(cells, runs):
    """All estimates of every analysis of this folder."""
    pairs = equivalence(cells, resamples=20, seed=0)
    recovered = recoveries(cells, loss="ce", resamples=20, seed=0)
    yield from law(cells, resamples=20, seed=0).estimates
    yield from shared_law({"59": cells, "97": cells}).estimates
    yield from (recovered.paper, *recovered.variants, recovered.difference)
    yield from collapse(cells, resamples=20, seed=0).everything
    yield pairs.p_all
    for pair in pairs.pairs:
        yield from pair.estimates
    yield from allocation(cells, resamples=20, seed=0)
    yield from same_state(cells, cells, resamples=20, seed=0)
    yield from dissociation({"ce": cells, "mse": cells}, resamples=20, seed=0)
    yield from memorisation(cells, resamples=20, seed=0)
    yield from transformer(cells, arch="transformer_no_layernorm", resamples=20, seed=0)
    yield from precision({"float32": cells, "float64": cells}, runs, resamples=20, seed=0)


def check(estimates):
    for e in estimates:
        assert (e.value is None) == bool(e.reason), e.name
        assert e.method, e.name
        assert e.interval is None or e.interval[0] <= e.interval[1], e.name
        assert e.value is None or e.interval is not None or e.interval_reason, e.name


def families(table, curves=None):
    cleaned = clean(table, pd.DataFrame() if curves is None else curves, ["made"])
    return [
        (key, with_logged_readings(make_cells(rows, cleaned.missing), cleaned.curves, "ce"), cleaned.runs)
        for key, rows in split(cleaned.runs)
    ]


def test_cells_of_equal_scale_and_another_dose_are_equivalent_where_only_the_scale_counts():
    rng = np.random.default_rng(1)
    own = rng.normal(0, 0.1, N_SEEDS)

    def made(rho, tau, scale, more=0.0):
        steps = np.exp(5 + 0.1 * scale + more + own + rng.normal(0, 0.05, N_SEEDS))
        return cell(rho, tau, steps, np.full(N_SEEDS, scale))

    cells = (made(1.0, 1.0, 24.0), made(1.15, 1.5, 24.2), made(1.05, 1.3, 20.0), made(1.1, 1.7, 20.3, more=0.5))
    result = equivalence(cells, **FEW)
    found = {(p.higher.rho, p.lower.rho): p.equivalent for p in result.pairs}
    assert found == {(1.15, 1.0): True, (1.1, 1.05): False}
    assert result.p_all.value > 0.05
    assert result.pairs[0]["ln_ratio"].level == pytest.approx(0.9)


def test_a_cell_is_in_one_pair_only_and_the_nearest_partner_is_taken():
    flat = [
        cell(r, 1.0, np.arange(1000.0, 1012.0), np.full(N_SEEDS, s)) for r, s in ((1.0, 20.0), (1.1, 20.1), (1.2, 20.5))
    ]
    (pair,) = equivalence(flat, **FEW).pairs
    assert (pair.higher.rho, pair.lower.rho) == (1.1, 1.0)


def test_seeds_that_did_not_grok_leave_no_test_of_equivalence():
    steps = np.arange(1000.0, 1012.0)
    late = np.where(np.arange(N_SEEDS) < 2, np.inf, steps)
    one, other = cell(1.0, 1.0, steps, np.full(N_SEEDS, 20.0)), cell(1.1, 1.3, late, np.full(N_SEEDS, 20.1))
    result = equivalence([one, replace(other, n_grokked=10, n_censored=2)], **FEW)
    assert "2 seeds did not grok" in result.pairs[0]["p_equivalence"].reason
    assert "1 of 1 pairs have no test" in result.p_all.reason


def test_the_law_ends_below_the_jump_of_the_scale_and_at_its_largest_dose():
    steps = np.arange(1000.0, 1012.0)
    cells = [
        cell(rho, 1.0, steps * rho**5, np.full(N_SEEDS, scale))
        for rho, scale in ((0.9, 20.0), (1.0, 24.0), (1.05, 70.0), (1.1, 80.0), (1.2, 900.0))
    ]
    used, left_out = law_cells(cells)
    assert [c.rho for c in used] == [0.9, 1.0]
    assert sum("has jumped" in why for why in left_out) == 2
    assert sum("above 1.15" in why for why in left_out) == 1
    assert "doses: 2, at least 4" in law(cells, **FEW)["alpha_per_norm_unit"].reason


def test_moduli_of_equal_slope_share_it_and_of_unequal_slope_do_not():
    def cells(slope, seed):
        rng = np.random.default_rng(seed)
        return tuple(
            cell(r, 1.0, np.exp(1 + slope * r + rng.normal(0, 0.03, N_SEEDS)), np.full(N_SEEDS, 24 * r))
            for r in np.linspace(0.85, 1.15, 7)
        )

    equal = shared_law({"59": cells(7.5, 0), "97": cells(7.5, 1)})
    assert equal["shared_alpha_rho"].interval[0] < 7.5 < equal["shared_alpha_rho"].interval[1]
    assert equal["equal_alpha_rho_p"].value > 0.05
    assert shared_law({"59": cells(7.5, 0), "97": cells(6.0, 1)})["equal_alpha_rho_p"].value < 0.001
    assert "at least 2" in shared_law({"59": cells(7.5, 0)})["shared_alpha_rho"].reason


def test_both_conventions_agree_where_seeds_agree_and_their_difference_says_so():
    steps = {(r, t): 900 * np.exp(4 * (r - 1) - t / 3) for r in (1.0, 1.1, 1.15) for t in (1.0, 1.3, 1.7)}
    cells = [cell(r, t, np.full(N_SEEDS, s), np.full(N_SEEDS, 20 * r**2 / t**0.6 + r)) for (r, t), s in steps.items()]
    fit = collapse(cells, **FEW)
    assert fit["r2_both_runs"].value == pytest.approx(fit["r2_both"].value)
    assert fit["r2_both_runs_minus_paper"].value == pytest.approx(0, abs=1e-9)


def test_the_logged_scale_is_read_at_the_nearest_logged_step_the_earlier_of_two(make_runs, no_curves):
    runs = make_runs(
        {"rho": 1.0, "seed": s, "grokked_step": t, "logit_scale_at_grok": 5.0} for s, t in enumerate((250, 300, 450))
    )
    curves = pd.concat(
        pd.DataFrame(
            {"sweep": "made", "run_id": run.run_id, "attempt": "a1", "step": np.arange(25, run.grokked_step + 1, 25)}
        )
        for run in runs.itertuples()
    )
    curves = curves.assign(logit_scale=curves.step / 100, train_accuracy=1.0, test_accuracy=0.5)
    ((_, (one,), _),) = families(runs, curves)
    assert one.logged_step == 200.0
    assert [r.logged_scale for r in one.runs] == [2.0, 2.0, 2.0]


def test_forks_precisions_and_losses_are_compared(make_runs):
    rng = np.random.default_rng(0)

    def rows(step, **values):
        return [
            {
                "seed": s,
                "grokked_step": int(step * np.exp(rng.normal(0, 0.05))) // 25 * 25,
                "logit_scale_at_grok": 20.0 + s / 10,
                "w_c": W,
                **values,
            }
            for s in range(8)
        ]

    W = 54.0
    table = make_runs(
        [
            *rows(4000, rho=1.0),
            *rows(12_000, rho=1.15),
            *rows(1200, rho=1.0, loss="mse"),
            *rows(2000, rho=1.15, loss="mse"),
            *rows(4000, rho=1.0, dtype="float64"),
            *[
                {"rho": 1.15, "dtype": "float64", "seed": s, "outcome": "censored", "grokked_step": None, "w_c": W}
                for s in range(8)
            ],
        ]
    )
    table["cell_id"] = table.cell_id + table.dtype
    table["run_id"] = table.run_id + table.dtype
    table["softmax_collapse_max"] = np.where(table.dtype == "float32", 0.3, 0.0)
    found = families(table)
    keys = [key for key, _, _ in found]
    assert all(len(group) == 1 for group in partners(keys, BY_MODULUS))

    def grouped(differ_in, column):
        (group,) = (places for places in partners(keys, differ_in) if len(places) > 1)
        return {dict(keys[i].config)[column]: found[i][1] for i in group}

    losses = named(dissociation(grouped(BY_LOSS, "loss"), **FEW))
    assert losses["norm_up_ratio_ce"].value == pytest.approx(3, rel=0.1)
    low, high = losses["norm_effect_mse_over_ce"].interval
    assert low < np.log(5 / 3) / np.log(3) < high
    both = named(precision(grouped(BY_DTYPE, "dtype"), found[0][2], **FEW))
    assert both["float64_over_float32_rho_1"].value == pytest.approx(1, rel=0.1)
    assert both["float64_over_float32_rho_1.15_all_runs"].reason
    assert both["float64_over_float32_at_least_rho_1.15"].value == pytest.approx(60_000 / 12_000, rel=0.1)
    assert both["softmax_collapse_float32_rho_1.15"].value == pytest.approx(0.3)
    assert both["grokked_share_float64_rho_1.15"].value == 0


def test_memorisation_that_stays_flat_leaves_the_effect_to_the_delay():
    cells = [c for c in grid(np.random.default_rng(2)) if c.rho == 1.15]
    found = named(memorisation(cells, **FEW))
    assert found["memorized_max_over_min"].value == 1
    assert found["delay_share_of_tau_effect"].value == pytest.approx(1)
    assert found["memorized_elasticity_tau"].interval == pytest.approx((0, 0))


def test_a_slow_allocation_is_not_made_fast_by_dropping_its_censored_runs(make_runs):
    rows = [
        {
            "arm": "allocation",
            "rho": 1.0,
            "gamma": g,
            "seed": s,
            "grokked_step": t + 25 * s,
            "run_id": f"{g} {s}",
            "cell_id": f"{g}",
        }
        for g, t in ((0.0, 4000), (0.6, 1800))
        for s in range(9)
    ]
    rows = [
        {**r, "grokked_step": None, "outcome": "censored"} if r["gamma"] == 0.6 and r["seed"] > 5 else r for r in rows
    ]
    ((_, cells, _),) = families(make_runs(rows))
    found = named(allocation(cells, **FEW))
    assert found["allocation_max_over_min"].value == pytest.approx(4100 / 1862.5)
    assert found["allocation_max_over_min_all_runs"].value == pytest.approx(4100 / 1900)
    assert "3 runs that did not grok" in found["allocation_max_over_min"].left_out[0]


def test_estimates_say_what_was_resampled():
    fit = collapse(grid(np.random.default_rng(0)), **FEW)
    assert fit["r2_both"].resampling == "200 resamples of 12 seeds, seed 0"


ODD = st.fixed_dictionaries(
    {
        "seed": st.sampled_from([0, 1, 2, 3, None]),
        "rho": st.sampled_from([1.0, 1.05, 1.15, 1 / 1.15, None, float("nan")]),
        "tau": st.sampled_from([1.0, 1.3, 1.7]),
        "arm": st.sampled_from(["clamp", "clamp", "clamp", "free", "allocation", "fork"]),
        "gamma": st.sampled_from([None, -0.3, 0.6]),
        "fork_step": st.sampled_from([None, 800]),
        "w_c": st.sampled_from([None, 54.0, 0.0, -1.0]),
        "outcome": st.sampled_from(["grokked", "grokked", "grokked", "censored", "diverged", "failed", None]),
        "grokked_step": st.sampled_from([None, -1, 25, 1000, 1025, 2500]),
        "memorized_step": st.sampled_from([None, 25, 175, 5000]),
        "logit_scale_at_grok": st.sampled_from([None, float("nan"), 0.0, -3.0, 20.0, 20.4, 31.0]),
    }
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(ODD, max_size=30))
def test_any_mixture_of_odd_rows_has_reasons(rows, make_runs):
    for _, cells, runs in families(make_runs(rows)):
        check(everything(cells, runs))


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_no_few_and_constant_seeds_have_reasons(seeds, make_runs, grid):
    rows = grid(seeds=seeds) if seeds else []
    check(e for _, cells, runs in families(make_runs(rows)) for e in everything(cells, runs))
    same = [{**r, "grokked_step": 1000, "logit_scale_at_grok": 20.0} for r in rows]
    check(e for _, cells, runs in families(make_runs(same)) for e in everything(cells, runs))
    check(everything((), pd.DataFrame({"run_id": [], "softmax_collapse_max": []})))
    assert isinstance(law((), **FEW)["r_squared"], Estimate)
