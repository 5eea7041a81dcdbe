"""What an estimate does not use, it says; and what it counts, it uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from grok_sweeps.analysis.estimators.allocation import allocated_cells, allocation
from grok_sweeps.analysis.estimators.equivalence import equivalence
from grok_sweeps.analysis.estimators.law import law, law_cells
from grok_sweeps.analysis.estimators.memorisation import memorisation
from grok_sweeps.analysis.estimators.precision import precision
from grok_sweeps.analysis.estimators.recovery import recoveries
from grok_sweeps.analysis.estimators.same_state import same_state
from grok_sweeps.analysis.estimators.shared_law import shared_law
from grok_sweeps.analysis.methods.medians import ALL_RUNS
from tests.analysis.simulated import cell, grid

FEW = {"resamples": 50, "seed": 0}
STEPS = np.arange(2000.0, 2012.0)
LEVEL = np.full(12, 20.0)


def named(estimates):
    return {e.name: e for e in estimates}


def late(made, n):
    """The cell, of which the last `n` runs did not grok."""
    none = dict.fromkeys(("value", "interval"))
    steps = made.grokked_step
    if 2 * n >= made.n_runs:
        steps = replace(steps, **none, reason=f"{n} of {made.n_runs} runs did not reach it")
    runs = [replace(r, grokked_step=np.inf, logit_scale=None) for r in made.runs[made.n_runs - n :]]
    return replace(
        made,
        runs=(*made.runs[: made.n_runs - n], *runs),
        n_grokked=made.n_runs - n,
        n_censored=n,
        grokked_step=steps,
    )


def allocated(gamma, rho=1.0, steps=STEPS, **values):
    made = cell(rho, 1.0, steps, LEVEL)
    runs = tuple(replace(r, run_id=f"{gamma} {rho} {r.run_id}") for r in made.runs)
    return replace(made, cell_id=f"{gamma} {rho}", arm="allocation", gamma=gamma, runs=runs, **values)


ENDS = {
    "all grokked late but half": ([22_000] * 4 + [None] * 4, [60_000] * 8, ["grokked"] * 4 + ["censored"] * 4, 41_000),
    "all stopped early": ([None] * 8, [2000] * 8, ["censored"] * 8, 2000),
    "steps_run unknown": ([None] * 8, [None] * 8, ["censored"] * 8, 60_000),
    "some diverged": ([None] * 8, [100] * 3 + [60_000] * 5, ["diverged"] * 3 + ["censored"] * 5, 60_000),
    "all diverged": ([None] * 8, [100] * 8, ["diverged"] * 8, None),
}


@pytest.mark.parametrize("what", ENDS)
def test_the_bound_of_a_ratio_is_an_order_statistic_of_each_runs_own_last_step(what):
    steps, ran, outcomes, middle = ENDS[what]
    single, double = cell(1.25, 1.0, STEPS[:8], LEVEL[:8]), cell(1.25, 1.0, STEPS[:8], LEVEL[:8])
    n = sum(s is not None for s in steps)
    double = late(double, 8 - n)
    double = replace(double, runs=tuple(replace(r, run_id=f"double {i}") for i, r in enumerate(double.runs)))
    runs = pd.DataFrame(
        {
            "run_id": [r.run_id for r in (*single.runs, *double.runs)],
            "outcome": ["grokked"] * 8 + outcomes,
            "grokked_step": pd.array([*STEPS[:8], *steps], dtype="Float64").to_numpy(float, na_value=np.nan),
            "steps_run": pd.array([*STEPS[:8], *ran], dtype="Float64").to_numpy(float, na_value=np.nan),
            "max_steps": 60_000.0,
            "softmax_collapse_max": 0.0,
        }
    )
    found = named(precision({"float32": [single], "float64": [double]}, runs, **FEW))
    bound = found["float64_over_float32_at_least_rho_1.25"]
    if middle is None:
        assert bound.reason == "every float64 run diverged, so none bounds the median"
    else:
        assert bound.value == pytest.approx(middle / np.median(STEPS[:8]))
    n_diverged = outcomes.count("diverged")
    assert [s for s in bound.left_out if "diverged" in s] == (
        [f"{n_diverged} float64 runs that diverged, whose last step bounds nothing"] if n_diverged else []
    )
    rate = found["softmax_collapse_float64_rho_1.25"]
    assert (rate.value, rate.n_runs, rate.left_out) == (0.0, 8, ())


def test_a_dose_whose_norm_differs_between_precisions_is_named():
    one, other = cell(1.0, 1.0, STEPS, LEVEL), cell(1.15, 1.0, STEPS, LEVEL)
    runs = pd.DataFrame({"run_id": [r.run_id for r in (*one.runs, *other.runs)]}).assign(
        outcome="grokked", grokked_step=2000.0, steps_run=2000.0, max_steps=6e4, softmax_collapse_max=np.nan
    )
    pair = {"float32": [one, other], "float64": [one, replace(other, w_c=50.0)]}
    found = precision(pair, runs, **FEW)
    assert {e.name.rpartition("_rho_")[2] for e in found} >= {"1"}
    assert not any("1.15" in e.name for e in found)
    assert all("rho 1.15, tau 1: the held norm differs" in " ".join(e.left_out) for e in found)
    rate = named(found)["softmax_collapse_float32_rho_1"]
    assert (rate.value, rate.n_runs, rate.left_out[0]) == (None, 0, "12 runs without softmax_collapse_max")


def test_an_allocation_in_which_nothing_grokked_leaves_no_ratio_over_all_runs():
    cells = [allocated(0.0), allocated(0.3, steps=2 * STEPS), late(allocated(0.6), 12)]
    found = named(allocation(cells, **FEW))
    assert found["allocation_max_over_min"].value == pytest.approx(2)
    assert "gamma 0.6" in found["allocation_max_over_min" + ALL_RUNS].reason
    assert "gamma 0.6" in found["allocation_slowest_over_fastest" + ALL_RUNS].reason
    assert all("γ 0.6, rho 1, tau 1: none of 12 runs grokked" in " ".join(e.left_out) for e in found.values())


def test_allocations_are_compared_at_one_dose():
    cells = [allocated(g, rho, STEPS * f) for rho, f in ((1.0, 1), (2.0, 4)) for g, f in ((0.0, f), (0.6, 1.5 * f))]
    stale = replace(allocated(0.6, steps=9 * STEPS), cell_id="stale", superseded="another cell is used")
    found = named(allocation([*cells, stale], **FEW))
    largest = found["allocation_max_over_min"]
    assert largest.value == pytest.approx(1.5)
    assert "All at rho 1, tau 1." in largest.method
    assert sum("compared at one rho and tau" in s for s in largest.left_out) == 2
    assert sum("another cell is used" in s for s in largest.left_out) == 1
    assert [c.gamma for c in allocated_cells(cells[2:])] == [0.0, 0.6]


def test_a_fork_that_another_supersedes_is_left_out():
    forks = [replace(cell(rho, 1.0, STEPS * rho, LEVEL), arm="fork", fork_step=800.0) for rho in (1.0, 1.15)]
    stale = replace(forks[1], cell_id="stale", superseded="another cell is used", runs=forks[0].runs)
    with_stale, without = (named(same_state(f, (), **FEW)) for f in ([*forks, stale], forks))
    assert with_stale["raised_over_same"].value == without["raised_over_same"].value
    assert "another cell is used" in " ".join(with_stale["raised_over_same"].left_out)


def test_contrasts_count_the_runs_that_they_use():
    cells = [late(allocated(0.0), 3), allocated(0.6)]
    found = named(allocation(cells, **FEW))
    largest, all_runs = (found[n] for n in ("allocation_max_over_min", "allocation_max_over_min" + ALL_RUNS))
    assert (largest.n_runs, largest.left_out) == (21, ("3 runs that did not grok (censored, diverged)",))
    assert (all_runs.n_runs, all_runs.left_out) == (24, ())


def test_memorisation_counts_runs_that_memorised_and_names_a_temperature_without_a_median():
    cells = [cell(1.15, tau, STEPS / tau, LEVEL) for tau in (1.0, 1.3, 1.7)]
    found = named(memorisation([late(cells[0], 3), cells[1], late(cells[2], 9)], **FEW))
    memorised, delay = found["memorized_elasticity_tau"], found["delay_elasticity_tau"]
    gone = "clamp, rho 1.15, tau 1.7: 9 of 12 runs did not reach it"
    assert (memorised.n_runs, memorised.left_out) == (24, (gone,))
    assert (delay.n_runs, delay.left_out) == (21, ("3 runs that did not grok or did not memorise", gone))


def test_censored_runs_at_the_raised_dose_are_counted_by_the_recovery():
    taus = (1.0, 1.3, 1.7)
    up = [cell(1.15, tau, STEPS * 3 / tau**2, LEVEL * 1.4 / tau) for tau in taus]
    found = recoveries([cell(1.0, 1.0, STEPS, LEVEL), late(up[0], 3), *up[1:]], loss="ce", **FEW)
    assert found.paper.value is not None
    for estimate in (found.paper, *found.variants, found.difference):
        assert estimate.left_out == ("3 runs that did not grok (censored, diverged)",)
        assert estimate.n_runs == 45
    assert "over the seeds that grokked" in found.paper.method


def test_medians_of_a_pair_are_over_the_seeds_that_grokked_and_say_so():
    one, other = cell(1.0, 1.0, STEPS, LEVEL), cell(1.1, 1.3, STEPS, LEVEL)
    (pair,) = equivalence([one, late(other, 3)], **FEW).pairs
    medians = pair["ln_ratio_medians"]
    assert medians.value is not None
    assert (medians.n_runs, medians.left_out) == (21, ("3 runs that did not grok (censored, diverged)",))
    assert "over the seeds that grokked" in medians.method


def doses(scales, rhos=(0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15), seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for rho, scale in zip(rhos, scales, strict=False):
        steps = np.exp(1 + 7.5 * rho + rng.normal(0, 0.03, 12))
        made.append(cell(rho, 1.0, steps, np.full(12, scale or 20.0)))
        if scale is None:
            made[-1] = replace(made[-1], runs=tuple(replace(r, logit_scale=None) for r in made[-1].runs))
    return made


def test_the_shared_law_says_what_each_modulus_lost():
    scales = range(20, 27)
    cells = doses(scales)
    cells[1], cells[2] = late(cells[1], 4), late(cells[2], 12)
    estimate = shared_law({"p = 59": tuple(cells), "p = 97": tuple(doses(scales, seed=1))})["shared_alpha_rho"]
    assert estimate.left_out == (
        "p = 59, clamp, rho 0.95, tau 1: no majority grokked (0 of 12)",
        "p = 59, 4 runs that did not grok (censored, diverged)",
    )


def test_a_jump_of_the_scale_is_found_over_a_cell_whose_scale_is_unknown():
    used, left_out = law_cells(doses((22.0, 23.0, None, 200.0, 210.0, 220.0)))
    assert [c.rho for c in used] == [0.85, 0.9]
    assert sum("L is unknown where it jumps" in s for s in left_out) == 1
    assert sum("L has jumped" in s for s in left_out) == 3


def test_a_jump_that_could_not_be_checked_is_said():
    used, left_out = law_cells(doses((None, 23.0, 24.0, 25.0, None)))
    assert len(used) == 5
    assert left_out == ("L is unknown at rho 0.85, 1.05, so that a jump there could not be checked (not left out)",)
    assert "from one known L to the next" in law(used, **FEW)["alpha_per_rho"].method


def test_cells_at_other_temperatures_are_counted_in_one_sentence():
    _, left_out = law_cells(grid(np.random.default_rng(0)))
    assert left_out == ("8 cells at another tau than 1",)


def unread(made, n):
    """The cell, of which the first `n` runs grokked and have no L, neither logged nor their own."""
    runs = [replace(r, logit_scale=None, logged_scale=None) for r in made.runs[:n]]
    return replace(made, runs=(*runs, *made.runs[n:]))


NO_SCALE = "5 grokked runs without L, of which T is used"


def test_what_rests_on_l_says_which_grokked_runs_have_none_and_what_does_not_says_nothing():
    cells = doses(range(20, 27))
    cells[1], cells[2] = unread(cells[1], 2), unread(cells[2], 3)
    fit = law(cells, **FEW)
    for name in ("alpha_per_logit_scale", "r_squared_logit_scale", "delta_aic_power_logit_scale"):
        assert fit[name].left_out == (NO_SCALE,)
    assert {fit[name].left_out for name in ("alpha_per_rho", "alpha_per_norm_unit", "r_squared")} == {()}
    blank = law([unread(cells[0], 12), *cells[1:]], **FEW)["alpha_per_logit_scale"]
    assert blank.reason == "not every cell has L"
    assert not any("of which T is used" in sentence for sentence in blank.left_out)

    moduli = shared_law({"p = 59": tuple(cells), "p = 97": tuple(doses(range(20, 27), seed=1))})
    assert moduli["shared_alpha_logit_scale"].left_out == (f"p = 59, {NO_SCALE}",)
    assert moduli["shared_alpha_rho"].left_out == ()

    apart = unread(cell(1.15, 1.0, 2 * STEPS, 2 * LEVEL), 4)
    found = equivalence([unread(cell(1.0, 1.0, STEPS, LEVEL), 5), cell(1.1, 1.3, STEPS, LEVEL), apart], **FEW)
    (pair,) = found.pairs
    assert found.p_all.left_out == (NO_SCALE,), "the third cell is in no pair"
    assert pair["ln_ratio_expected_from_logit_scale"].left_out == (NO_SCALE,)
    assert pair["ln_ratio"].left_out == pair["ln_ratio_medians"].left_out == ()


@pytest.mark.parametrize("logged", [True, False], ids=["L over time", "L at grokking only"])
def test_the_recovery_says_by_each_convention_which_grokked_runs_have_no_l(logged):
    up = [cell(1.15, tau, STEPS * 3 / tau**2, LEVEL * 1.4 / tau) for tau in (1.0, 1.3, 1.7)]
    cells = [unread(cell(1.0, 1.0, STEPS, LEVEL), 5), *up]
    if logged:
        cells = [replace(c, runs=tuple(replace(r, logged_scale=r.logit_scale) for r in c.runs)) for c in cells]
    found = recoveries(cells, loss="ce", **FEW)
    own = "5 grokked runs without L at grokking, of which T is used"
    assert found.paper.value is not None
    assert found.paper.left_out == found["recovery_fraction_paper_drawn_bca"].left_out == (NO_SCALE,)
    assert found["recovery_fraction_runs_drawn_bca"].left_out == (own,)
    assert found.difference.left_out == ((NO_SCALE, own) if logged else ())
    without = recoveries(cells, loss="mse", **FEW)
    assert {e.left_out for e in (without.paper, *without.variants)} == {()}, "no T is used"
