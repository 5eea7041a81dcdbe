"""What conventions `paper` and `runs` read in mediation and its rivals, and the interval of their difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from grok_sweeps.analysis import analyze
from grok_sweeps.analysis.estimators.collapse import collapse
from grok_sweeps.analysis.estimators.mediation import QUANTITIES, mediation
from grok_sweeps.analysis.estimators.mediators import mediators
from grok_sweeps.analysis.methods.bootstrap import aligned, draw, expanded_level, seed_table
from grok_sweeps.analysis.methods.samples import Samples
from grok_sweeps.analysis.table.cells import RIVALS, make_cells
from grok_sweeps.analysis.table.families import split
from grok_sweeps.analysis.table.logged import with_logged_readings
from grok_sweeps.analysis.table.tables import clean
from tests.analysis import made_sweep
from tests.analysis.found import estimates_in
from tests.analysis.simulated_causes import at_logged_step, with_rivals
from tests.analysis.test_left_out import late

FEW = {"resamples": 60, "seed": 0}


@pytest.fixture
def made():
    return with_rivals(np.random.default_rng(0), apart=0.1)


def without_rows(cells, n):
    """The cells without the last `n` runs of the first."""
    first = cells[0]
    kept = first.runs[: len(first.runs) - n]
    fewer = dict.fromkeys(("n_runs", "n_grokked"), len(kept))
    return (replace(first, runs=kept, **fewer), *cells[1:])


def off_the_logged_step(cells):
    return tuple(replace(c, runs=tuple(replace(r, logged_scale=None, logged_rivals={}) for r in c.runs)) for c in cells)


def test_rivals_are_read_off_the_curves_in_the_row_in_which_l_is(make_runs):
    runs = make_runs({"rho": 1.0, "seed": s, "grokked_step": t} for s, t in enumerate((400, 425, 600)))
    steps = np.arange(100, 601, 100)
    parts = [pd.DataFrame({"sweep": "made", "run_id": i, "attempt": "a1", "step": steps}) for i in runs["run_id"]]
    curves = pd.concat(parts, ignore_index=True).assign(train_accuracy=1.0, test_accuracy=0.5)
    curves = curves.assign(logit_scale=curves.step / 10, grad_norm=curves.step / 100, turn_angle=-1.0)
    curves["update_norm"] = np.where(curves.step < 400, 7.0, np.nan)
    tables = clean(runs, curves, ["made"])
    ((_, rows),) = split(tables.runs)
    (cell,) = with_logged_readings(make_cells(rows, tables.missing), tables.curves, "ce")
    assert cell.logged_step == 400
    # L of 400, not an older update norm, no angle below 0, and nothing of what the table lacks.
    assert [(r.logged_scale, r.logged_rivals) for r in cell.runs] == [(40.0, {"grad_norm": 4.0})] * 3
    assert any("turn_angle left out" in note for note in tables.notes)


def test_paper_reads_rivals_at_the_logged_step_and_runs_each_at_its_own(made):
    cells, rows = made
    rng = np.random.default_rng(1)
    logged = tuple(
        at_logged_step(c, {"grad_norm": np.full(12, np.median([r.grokked_step for r in c.runs]))}) for c in cells
    )
    rows = rows.assign(grad_norm_at_grok=np.exp(rng.normal(size=len(rows))))
    found = mediators(logged, rows, **FEW)
    assert found.paper["partial_r2_grad_norm_given_logit_scale"].value > 0.99
    assert found.runs["partial_r2_grad_norm_given_logit_scale"].value < 0.1
    assert "logged step" in found.paper["r2_all"].method
    assert "logged step" not in found.runs["r2_all"].method
    assert found.paper["lmg_share_turn_angle"].reason == "no cell has turn_angle over time"


def test_without_curves_paper_has_a_reason_and_runs_has_numbers(made):
    cells, rows = made
    found = mediators(off_the_logged_step(cells), rows, **FEW)
    assert {e.reason for e in found.paper.estimates} == {"no cell has logit_scale over time"}
    assert all(e.value is not None for e in found.runs.estimates)
    assert all(e.reason for e in found.differences)
    assert found.paper["r2_all"].left_out[:1] == ("all cells: no positive logit_scale",)


def test_curves_without_rivals_give_reasons_for_rivals_only():
    runs, curves = made_sweep.tables(n_seeds=4)

    def first_family(curves):
        return analyze(runs, curves, sweep=made_sweep.SWEEP, resamples=20).families[0]

    known, lacking = first_family(curves), first_family(curves.drop(columns=list(RIVALS)))
    assert all(e.value is not None and e.interval for e in known.mediators.paper.estimates)
    assert {e.reason for e in lacking.mediators.paper.estimates} >= {"no cell has grad_norm over time"}
    assert all(e.value is None for e in lacking.mediators.paper.estimates)
    assert lacking.mediation == known.mediation


def test_a_median_of_paper_is_over_the_seeds_that_grokked_in_mediation_too(made):
    cells, rows = made
    own = off_the_logged_step(cells)
    censored, fewer = (late(own[0], 3), *own[1:]), without_rows(own, 3)
    one, other = (mediation(c, **FEW).paper for c in (censored, fewer))
    for name in ("acme", "ade", "total_effect"):
        assert one[name].value == pytest.approx(other[name].value, rel=1e-9)
        assert one[name].n_runs == other[name].n_runs == 141
    assert "3 runs that did not grok (censored, diverged)" in one["acme"].left_out
    assert "over the seeds that grokked" in one["acme"].method
    logged = (late(cells[0], 3), *cells[1:])
    assert mediators(logged, rows, **FEW).paper["r2_all"].n_runs == 141


def test_a_cell_whose_median_is_censored_is_left_out_alike_and_said(made):
    cells, rows = made
    cells = (late(cells[0], 7), late(cells[1], 12), *cells[2:])
    told = (
        "clamp, rho 1, tau 1: no majority grokked (5 of 12)",
        "clamp, rho 1, tau 1.3: no majority grokked (0 of 12)",
    )
    by_collapse = collapse(cells, **FEW)["r2_rho"]
    effects, rivals = mediation(cells, **FEW), mediators(cells, rows, **FEW)
    for estimate in (by_collapse, effects.paper["acme"], rivals.paper["r2_all"], effects.runs["acme"]):
        assert estimate.left_out[:2] == told
        assert estimate.n_cells == 10


def test_the_difference_of_the_conventions_is_resampled_on_the_same_seeds(made):
    cells, _ = made
    found = mediation(cells, **FEW)
    samples = Samples(cells, [(c.rho / 0.15, np.log(c.tau)) for c in cells], **FEW)
    steps, scales = samples.table.grokked_step, samples.table.logit_scale
    x, z = np.array([[c.rho / 0.15, np.log(c.tau)] for c in cells]).T

    def acme(dose, tau, mediator, outcome):
        one = np.ones(len(dose))
        a = np.linalg.lstsq(np.column_stack([one, dose, tau]), mediator, rcond=None)[0][1]
        return a * np.linalg.lstsq(np.column_stack([one, dose, mediator]), outcome, rcond=None)[0][2]

    drawn = []
    for seeds in draw(12, 60, 0):
        t, scale = steps[seeds], scales[seeds]
        runs = acme(np.tile(x, 12), np.tile(z, 12), np.log(scale).ravel(), np.log(t).ravel())
        drawn.append(runs - acme(x, z, np.log(scale.mean(axis=0)), np.log(np.median(t, axis=0))))
    difference = found.difference("acme")
    assert difference.value == found.runs["acme"].value - found.paper["acme"].value
    level = expanded_level(12)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    expected = (min(2 * difference.value - high, difference.value), max(2 * difference.value - low, difference.value))
    assert difference.interval == pytest.approx(expected, rel=1e-6)
    assert difference.resampling == "60 resamples of 12 seeds, seed 0"


def test_every_quantity_of_both_analyses_has_a_difference_with_an_interval_or_a_reason(made):
    cells, rows = made
    for found in (mediation(cells, **FEW), mediators(cells, rows, **FEW)):
        assert len(found.differences) >= len(QUANTITIES)
        for e in found.differences:
            both = all(
                one[e.name.removesuffix("_runs_minus_paper")].value is not None for one in (found.runs, found.paper)
            )
            assert (e.interval is not None) == both, e
            assert e.interval is None or e.interval[0] <= e.value <= e.interval[1]


@pytest.mark.parametrize("apart", [0.0, 0.1])
def test_a_share_lies_in_its_interval_and_both_in_0_to_1(apart):
    for seed in range(12):
        found = mediators(*with_rivals(np.random.default_rng(seed), apart=apart), resamples=200, seed=0)
        shares = [e for one in (found.runs, found.paper) for e in one.estimates if e.name.startswith("lmg")]
        assert len(shares) == 10
        assert all(0 <= e.interval[0] <= e.value <= e.interval[1] <= 1 for e in shares)


def only_in(rows, cells, rival, n):
    """The rows with `rival` in the first `n` runs of all cells only; ids of these."""
    ids = [r.run_id for c in cells for r in c.runs][:n]
    column = f"{rival}_at_grok"
    return rows.assign(**{column: rows[column].where(rows["run_id"].isin(ids))})


def test_a_rival_read_in_few_runs_takes_nothing_from_the_others(made):
    cells, rows = made
    found = mediators(cells, only_in(rows, cells, "turn_angle", 40), **FEW).runs
    without = mediators(cells, rows.drop(columns="turn_angle_at_grok"), **FEW).runs
    others = [e for e in without.estimates if "turn_angle" not in e.name]
    assert len(others) == 11
    for e in others:
        assert (found[e.name].value, found[e.name].interval, found[e.name].n_runs) == (e.value, e.interval, 144)
    share = found["lmg_share_turn_angle"]
    assert share.reason == "turn_angle was read in 40 of 144 runs, too few to be among all"
    assert "turn_angle, which was read in 40 of 144 runs" in found["r2_all"].left_out
    assert "fewer than 90%" in found["r2_all"].method
    pair = found["partial_r2_turn_angle_given_logit_scale"]
    assert (pair.n_runs, pair.n_cells) == (40, 4)
    assert "104 grokked runs without a positive turn_angle" in pair.left_out
    of_them = [r for c in cells[:4] for r in c.runs][:40]
    y, scale = (np.log([getattr(r, n) for r in of_them]) for n in ("grokked_step", "logit_scale"))
    angle = np.log(rows.set_index("run_id").loc[[r.run_id for r in of_them], "turn_angle_at_grok"].to_numpy())
    a, b = (v - np.polyval(np.polyfit(scale, v, 1), scale) for v in (angle, y))
    assert pair.value == pytest.approx(np.corrcoef(a, b)[0, 1] ** 2, rel=1e-6)


def test_a_rival_read_in_nearly_all_runs_shares_with_the_runs_that_have_it(made):
    cells, rows = made
    found = mediators(cells, only_in(rows, cells, "turn_angle", 130), **FEW).runs
    assert found["lmg_share_turn_angle"].n_runs == found["r2_all"].n_runs == 130
    assert found["partial_r2_grad_norm_given_logit_scale"].n_runs == 144
    assert mediators(cells, only_in(rows, cells, "turn_angle", 129), **FEW).runs["r2_all"].n_runs == 144


def test_in_paper_too_a_rival_read_in_few_runs_is_compared_where_it_is_and_shares_nothing(made):
    cells, rows = made
    blank = [replace(c, runs=tuple(replace(r, logged_rivals=_without(r.logged_rivals)) for r in c.runs)) for c in cells]
    found = mediators((*cells[:6], *blank[6:]), rows, **FEW).paper
    pair = found["partial_r2_turn_angle_given_logit_scale"]
    assert (pair.value is not None, pair.n_cells) == (True, 6)
    assert "clamp, rho 1.15, tau 1.7: no positive turn_angle" in pair.left_out
    assert found["r2_all"].n_cells == 12
    assert "72 of 144 runs" in found["lmg_share_turn_angle"].reason


def test_a_difference_of_shares_that_are_split_among_other_rivals_has_a_reason_that_names_both(made):
    cells, rows = made
    without = rows.drop(columns="preactivation_rms_at_grok")
    found, same = (mediators(cells, r, **FEW) for r in (without, rows))
    shares = ("r2_all", *(f"lmg_share_{name}" for name in ("logit_scale", "grad_norm", "update_norm", "turn_angle")))
    common = "logit_scale, grad_norm, update_norm, turn_angle"
    for name in shares:
        assert found.runs[name].value is not None
        assert found.paper[name].value == same.paper[name].value is not None
        assert same.difference(name).value is not None
        difference = found.difference(name)
        assert (difference.value, difference.interval, difference.resampling) == (None, None, "")
        assert difference.reason == (
            f"R² is split among other regressors: by runs {common}, by paper {common}, preactivation_rms"
        )
    assert found.difference("lmg_share_preactivation_rms").reason == "no run has preactivation_rms_at_grok"
    for name in ("turn_angle_given_logit_scale", "logit_scale_given_turn_angle"):
        assert found.difference(f"partial_r2_{name}") == same.difference(f"partial_r2_{name}")


def read_in_some(cells):
    """The cells without turn angle in odd seeds and without logged L in seeds 8 to 11."""
    return tuple(
        replace(
            c,
            runs=tuple(
                replace(
                    r,
                    logged_scale=None if r.seed >= 8 else r.logged_scale,
                    logged_rivals=_without(r.logged_rivals) if r.seed % 2 else r.logged_rivals,
                )
                for r in c.runs
            ),
        )
        for c in cells
    )


def test_paper_says_per_reading_how_many_grokked_runs_lack_it(made):
    cells, rows = made
    cells = read_in_some(cells)
    no_angle, no_scale = (
        f"{n} grokked runs without {name}, of which T is used" for n, name in ((72, "turn_angle"), (48, "logit_scale"))
    )
    found = mediators(cells, rows, **FEW)
    pair = found.paper["partial_r2_turn_angle_given_logit_scale"]
    assert (pair.n_runs, pair.n_cells, pair.left_out) == (144, 12, (no_scale, no_angle))
    assert found.paper["partial_r2_grad_norm_given_logit_scale"].left_out == (no_scale,)
    assert no_angle in found.difference("partial_r2_turn_angle_given_logit_scale").left_out
    assert found.runs["partial_r2_turn_angle_given_logit_scale"].left_out == ()
    told = "48 grokked runs without L, of which T is used"
    by_cells, by_runs = mediation(cells, **FEW).paper["acme"], mediation(cells, **FEW).runs["acme"]
    assert (by_cells.n_runs, by_cells.left_out, by_runs.left_out) == (144, (told,), ())
    fit = collapse(cells, **FEW)
    for estimate in (fit["r2_logit_scale"], fit["prediction_error_both"], fit["r2_logit_scale_runs_minus_paper"]):
        assert estimate.left_out == (told,)
    assert fit["r2_logit_scale_runs"].left_out == ()


def test_only_grokked_runs_of_kept_cells_are_said_to_lack_a_reading(made):
    cells, rows = made
    cells = read_in_some(cells)
    blank = replace(cells[1], runs=tuple(replace(r, logged_rivals=_without(r.logged_rivals)) for r in cells[1].runs))
    pair = mediators((late(cells[0], 3), blank, *cells[2:]), rows, **FEW).paper[
        "partial_r2_turn_angle_given_logit_scale"
    ]
    assert pair.left_out == (
        "3 runs that did not grok (censored, diverged)",
        "clamp, rho 1, tau 1.3: no positive turn_angle",
        "41 grokked runs without logit_scale, of which T is used",
        "64 grokked runs without turn_angle, of which T is used",
    )


def test_collapse_by_runs_says_how_many_grokked_runs_have_no_l(made):
    cells, _ = made
    lacking = tuple(
        replace(c, runs=tuple(replace(r, logit_scale=None) if r.seed < 2 else r for r in c.runs)) for c in cells
    )
    fit = collapse(lacking, **FEW)
    assert (fit["r2_logit_scale_runs"].n_runs, fit["r2_logit_scale"].n_runs) == (120, 144)
    for name in ("r2_logit_scale_runs", "prediction_error_rho_runs", "spline_f_runs"):
        assert fit[name].left_out == ("24 grokked runs without L",)
    assert {e.left_out for e in fit.mixed} == {("24 grokked runs without L",)}
    assert fit["r2_logit_scale"].left_out == ()
    own = collapse(off_the_logged_step(lacking), **FEW)["r2_logit_scale"]
    assert own.left_out == ("24 grokked runs without L, of which T is used",)


def test_where_no_run_has_l_nothing_is_said_of_what_was_read_in_such_runs(made):
    cells, rows = made
    without = tuple(replace(c, runs=tuple(replace(r, logit_scale=None) for r in c.runs)) for c in cells)
    by_runs = mediators(without, rows, **FEW).runs
    by_cells = mediators(off_the_logged_step(cells), rows, **FEW).paper
    for name in ("r2_all", "lmg_share_grad_norm"):
        assert by_runs[name].left_out == ("144 grokked runs without a positive logit_scale",)
        assert by_cells[name].left_out == ("all cells: no positive logit_scale",)


def _without(rivals):
    return {name: value for name, value in rivals.items() if name != "turn_angle"}


def test_a_level_is_of_the_seeds_that_a_rival_was_read_in(made):
    cells, rows = made
    ids = {r.run_id for c in cells for r in c.runs if r.seed < 6}
    some = rows.assign(turn_angle_at_grok=rows["turn_angle_at_grok"].where(rows["run_id"].isin(ids)))
    samples = Samples(cells, [()] * 12, **FEW)
    table = aligned(cells, lambda r: r.logit_scale if r.seed < 6 else None)
    assert samples.of("runs", {"some": table}).n_seeds == samples.of("paper", {"some": table}).n_seeds == 6
    one = aligned(cells, lambda r: r.logit_scale if r.seed == 3 else None)
    assert samples.of("runs", {"one": one}).no_interval == "one seed cannot be resampled"
    pair = mediators(cells, some, resamples=400, seed=0).runs["partial_r2_logit_scale_given_turn_angle"]
    assert pair.interval is not None
    single = rows.assign(turn_angle_at_grok=rows["turn_angle_at_grok"].where(rows["run_id"].str.endswith("-3")))
    pair = mediators(cells, single, **FEW).runs["partial_r2_logit_scale_given_turn_angle"]
    assert pair.value is not None
    assert pair.interval_reason == "one seed cannot be resampled"


def test_a_run_that_repeats_a_seed_of_its_cell_counts_and_stops_the_resampling(made):
    cells, rows = made
    first = cells[0]
    again = replace(first.runs[0], run_id="again", grokked_step=9.0)
    more = replace(first, runs=(*first.runs, again), n_runs=13, n_grokked=13)
    cells = (more, *cells[1:])
    rows = pd.concat([rows, rows.iloc[:1].assign(run_id="again")], ignore_index=True)
    table = seed_table(cells)
    assert table.grokked_step.shape == aligned(cells, lambda r: r.logged_rivals.get("grad_norm")).shape == (13, 12)
    assert (table.grokked_step[12, 0], np.isnan(table.grokked_step[12, 1:]).all()) == (9.0, True)
    effects, rivals = mediation(cells, **FEW), mediators(cells, rows, **FEW)
    for estimate in (effects.runs["acme"], effects.paper["acme"], rivals.runs["r2_all"], rivals.paper["r2_all"]):
        assert estimate.n_runs == 145
        assert "1 runs repeat the seed of another run of their cell" in estimate.interval_reason
    assert "repeat the seed" in effects.difference("acme").interval_reason


def test_one_seed_no_seed_and_none_that_grokked(made):
    cells, rows = made
    single = [replace(c, runs=c.runs[:1], n_runs=1, n_grokked=1) for c in cells]
    nameless = [replace(c, runs=tuple(replace(r, seed=None) for r in c.runs)) for c in cells]
    for some, why in ((single, "one seed cannot be resampled"), (nameless, "144 runs have no seed")):
        effects, rivals = mediation(some, **FEW), mediators(some, rows, **FEW)
        known = [e for found in (effects, rivals) for e in estimates_in(found) if e.value is not None]
        known = [e for e in known if "statsmodels" not in e.name]
        assert len(known) > 40
        assert {(e.interval, e.interval_reason) for e in known} == {(None, why)}
    never = [late(c, 12) for c in cells]
    for e in estimates_in((mediation(never, **FEW), mediators(never, rows, **FEW))):
        assert e.value is None
        assert e.reason
        assert not e.resampling


def test_readings_that_are_nan_or_zero_leave_their_runs_out_of_their_pair_only(made):
    cells, rows = made
    odd = rows.assign(grad_norm_at_grok=rows["grad_norm_at_grok"].mask(rows.index < 5), update_norm_at_grok=0.0)
    found = mediators(cells, odd, **FEW).runs
    assert found["partial_r2_grad_norm_given_logit_scale"].n_runs == 139
    assert found["partial_r2_turn_angle_given_logit_scale"].n_runs == 144
    assert found["partial_r2_update_norm_given_logit_scale"].reason == "no run has update_norm_at_grok"
    assert found["r2_all"].n_runs == 139
    broken = replace(cells[0], runs=tuple(replace(r, logged_rivals={"grad_norm": np.nan}) for r in cells[0].runs))
    paper = mediators((broken, *cells[1:]), rows, **FEW).paper
    assert paper["partial_r2_grad_norm_given_logit_scale"].n_cells == 11
    assert paper["r2_all"].n_cells == 11
