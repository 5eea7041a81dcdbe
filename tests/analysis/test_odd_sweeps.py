"""A sweep that every analysis finds something in, damaged in one way at a time: each says a number or a reason.

The sweep has all arms, losses, precisions and moduli, so that no analysis escapes by having nothing to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from grok_sweeps.analysis import analyze
from grok_sweeps.analysis.render import report_html, report_markdown
from grok_sweeps.analysis.render.canvas import svg
from grok_sweeps.analysis.render.drawings import drawings
from tests.analysis import made_sweep
from tests.analysis.found import estimates_in

Tables = tuple[pd.DataFrame, pd.DataFrame]
STEPS = ["grokked_step", "memorized_step", "max_steps", "eval_every", "steps_run"]
READINGS = ["logit_scale_at_grok", *(f"{name}_at_grok" for name in made_sweep.RIVAL_POWERS)]


@pytest.fixture(scope="module")
def sweep() -> Tables:
    """Half of the doses and temperatures, three seeds a cell."""
    runs, curves = made_sweep.tables(n_seeds=3)
    runs = runs[~runs["rho"].isin([0.85, 0.95, 1.05]) & ~runs["tau"].isin([1.2, 1.4])].reset_index(drop=True)
    return runs, curves[(curves["step"] % 200 == 0) & curves["run_id"].isin(runs["run_id"])].reset_index(drop=True)


def analysed(runs: pd.DataFrame, curves: pd.DataFrame):
    """The analysis, once all that it says is found to be in order."""
    analysis = analyze(runs, curves, sweep=made_sweep.SWEEP, resamples=20)
    for estimate in estimates_in(analysis):
        assert (estimate.value is None) == bool(estimate.reason), estimate
        assert estimate.method
        if estimate.interval is not None:
            assert all(map(math.isfinite, estimate.interval)), estimate
            assert estimate.interval[0] <= estimate.interval[1], estimate
        elif estimate.value is not None:
            assert estimate.interval_reason, estimate
    return analysis


def put(table: pd.DataFrame, columns: list[str] | str, value: object) -> pd.DataFrame:
    columns = [columns] if isinstance(columns, str) else columns
    return table.assign(**dict.fromkeys(columns, value))


RUNS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "one seed": lambda r: r[r["seed"] == 0],
    "two seeds": lambda r: r[r["seed"] < 2],
    "seeds that no two cells share": lambda r: r.assign(seed=range(len(r))),
    "no seeds": lambda r: put(r, "seed", None),
    "fractions of a seed": lambda r: r.assign(seed=r["seed"] + 0.5),
    "every seed the same": lambda r: put(r, "seed", 7),
    "all censored": lambda r: put(put(r, "outcome", "censored"), ["grokked_step", *READINGS], None),
    "all diverged": lambda r: put(put(r, "outcome", "diverged"), ["grokked_step", *READINGS], None),
    "all failed": lambda r: put(put(r, "outcome", "failed"), ["grokked_step", *READINGS], None),
    "grokked without a step": lambda r: put(r, "grokked_step", None),
    "one run a cell grokked": lambda r: r.assign(
        outcome=np.where(r["seed"] == 0, r["outcome"], "censored"),
        grokked_step=r["grokked_step"].where(r["seed"] == 0),
    ),
    "every row twice": lambda r: pd.concat([r, r]),
    "every run twice": lambda r: pd.concat([r, r.assign(run_id=r["run_id"] + "again")]),
    "one step for all": lambda r: put(r, "grokked_step", 2000).assign(outcome="grokked"),
    "steps in thousands": lambda r: r.assign(**{name: r[name] / 1000 for name in STEPS}),
    "steps of 0": lambda r: put(r, STEPS, 0),
    "steps below 0": lambda r: put(r, STEPS, -1),
    "steps without end": lambda r: put(r, STEPS, np.inf),
    "steps beyond all numbers": lambda r: r.assign(**{name: r[name] * 1e300 for name in STEPS}),
    "memorised after grokking": lambda r: put(r, "memorized_step", 50_000),
    "never memorised": lambda r: put(r, "memorized_step", None),
    "readings further apart than the budget": lambda r: put(r, "eval_every", 1_000_000),
    "no budget": lambda r: put(r, ["max_steps", "steps_run"], None),
    "no readings": lambda r: put(r, READINGS, None),
    "readings of 0": lambda r: put(r, READINGS, 0.0),
    "readings below 0": lambda r: r.assign(**{name: -r[name] for name in READINGS}),
    "readings without end": lambda r: put(r, READINGS, np.inf),
    "one reading for all": lambda r: put(r, READINGS, 3.0),
    "readings of 1e-300": lambda r: r.assign(**{name: r[name] * 1e-300 for name in READINGS}),
    "all rivals are L": lambda r: r.assign(**dict.fromkeys(READINGS, r["logit_scale_at_grok"])),
    "tau of 0": lambda r: put(r, "tau", 0.0),
    "some tau of 0": lambda r: r.assign(tau=r["tau"].where(r["tau"] < 1.7, 0.0)),
    "tau below 0": lambda r: r.assign(tau=-r["tau"]),
    "one tau": lambda r: put(r, "tau", 1.0),
    "rho of 0": lambda r: r.assign(rho=r["rho"] * 0),
    "rho below 0": lambda r: r.assign(rho=-r["rho"]),
    "rho beyond all networks": lambda r: r.assign(rho=r["rho"] * 1e155),
    "tau beyond all networks": lambda r: r.assign(tau=r["tau"] * 1e155),
    "norms beyond all networks": lambda r: put(r, ["w_c", "weight_norm_at_grok"], 1e308),
    "no rho": lambda r: put(r, "rho", None),
    "one rho": lambda r: r.assign(rho=r["rho"].where(r["rho"].isna(), 1.15)),
    "w_c of 0": lambda r: put(r, ["w_c", "weight_norm_at_grok"], 0.0),
    "w_c below 0": lambda r: put(r, ["w_c", "weight_norm_at_grok"], -54.0),
    "no w_c": lambda r: put(r, ["w_c", "weight_norm_at_grok"], None),
    "no gamma": lambda r: put(r, "gamma", None),
    "one gamma": lambda r: put(r, "gamma", 0.3),
    "forks after their end": lambda r: r.assign(fork_step=r["fork_step"] * 100_000),
    "no collapse rate": lambda r: put(r, "softmax_collapse_max", None),
    "no free runs": lambda r: r[r["arm"] != "free"],
    "free runs only": lambda r: r[r["arm"] == "free"],
    "unknown arm": lambda r: put(r, "arm", "else"),
    "one cell": lambda r: r[r["cell_id"] == "0"],
    "one run": lambda r: r.iloc[:1],
    "a modulus that is text": lambda r: r.assign(p="p" + r["p"].astype(str)),
    "another loss": lambda r: put(r, "loss", "hinge"),
    "numbers as text": lambda r: r.astype(dict.fromkeys((*STEPS, "rho", "tau", "seed", *READINGS), str)),
}

CURVES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "no curves": lambda c: c.iloc[:0],
    "no L over time": lambda c: put(c, "logit_scale", None),
    "L of 0 over time": lambda c: put(c, "logit_scale", 0.0),
    "L below 0 over time": lambda c: c.assign(logit_scale=-c["logit_scale"]),
    "L without end over time": lambda c: put(c, "logit_scale", np.inf),
    "no rivals over time": lambda c: c.drop(columns=[*made_sweep.RIVAL_POWERS]),
    "rivals of some runs over time": lambda c: c.assign(turn_angle=c["turn_angle"].where(c["run_id"].str.len() < 4)),
    "rivals of 0 over time": lambda c: put(c, [*made_sweep.RIVAL_POWERS], 0.0),
    "rivals below 0 over time": lambda c: c.assign(**{name: -c[name] for name in made_sweep.RIVAL_POWERS}),
    "rivals without end over time": lambda c: put(c, [*made_sweep.RIVAL_POWERS], np.inf),
    "one rival for all over time": lambda c: put(c, [*made_sweep.RIVAL_POWERS], 3.0),
    "all rivals are L over time": lambda c: c.assign(**dict.fromkeys(made_sweep.RIVAL_POWERS, c["logit_scale"])),
    "steps in thousands": lambda c: c.assign(step=c["step"] / 1000),
    "one reading a run": lambda c: c.groupby("run_id").head(1),
    "every reading twice": lambda c: pd.concat([c, c]),
    "of a few runs": lambda c: c[c["run_id"].isin(["0-0", "1-0", "30-1"])],
    "of other runs": lambda c: c.assign(run_id="other"),
}


@pytest.mark.parametrize("what", RUNS)
def test_a_damaged_table_of_runs_gives_numbers_or_reasons(what, sweep):
    runs, curves = sweep
    analysed(RUNS[what](runs), curves)


def times(sweep, factor):
    runs, curves = sweep
    runs = runs.assign(**{name: runs[name] * factor for name in READINGS})
    return runs, curves.assign(**{name: curves[name] * factor for name in ("logit_scale", *made_sweep.RIVAL_POWERS)})


@pytest.mark.parametrize("factor", [1e20, 1e155, 1e300])
def test_readings_beyond_all_networks_are_left_out_and_said(factor, sweep):
    analysis = analysed(*times(sweep, factor))
    for column in (*READINGS, "logit_scale", *made_sweep.RIVAL_POWERS):
        assert any(f"values of {column} left out: {column} is from 0 to 1e+12" in note for note in analysis.notes)
    family = max(analysis.families, key=lambda f: len(f.cells))
    assert all(c.logit_scale.value is None and c.logged_logit_scale is None for c in family.cells)
    assert family.collapse["r2_logit_scale"].value is None
    assert family.law["alpha_per_rho"].value is not None


def test_readings_at_the_bound_have_finite_intervals(sweep):
    analysis = analysed(*times(sweep, 1e9))
    ours, plain = (max(a.families, key=lambda f: len(f.cells)).collapse for a in (analysis, analysed(*sweep)))
    assert ours["r2_logit_scale"].value == pytest.approx(plain["r2_logit_scale"].value)
    assert ours["r2_logit_scale"].interval == pytest.approx(plain["r2_logit_scale"].interval)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero):RuntimeWarning")
def test_a_scale_whose_squares_are_no_numbers_gives_reasons_and_no_false_fit(sweep):
    analysis = analyze(*times(sweep, 1e-300), sweep=made_sweep.SWEEP, resamples=20)
    family = max(analysis.families, key=lambda f: len(f.cells))
    assert family.collapse["spline_f"].value is not None
    assert family.collapse["r2_logit_scale"].value is None
    assert "powers cannot be computed" in family.law["alpha_per_logit_scale"].reason
    shares = [e for e in estimates_in(analysis) if "r2" in e.name and e.value is not None and "minus" not in e.name]
    assert all(-1e-9 <= e.value <= 1 + 1e-9 for e in shares)
    scale = family.cells[1].logit_scale
    assert scale.interval[0] < scale.value < scale.interval[1]


@pytest.mark.parametrize("what", CURVES)
def test_a_damaged_table_of_curves_gives_numbers_or_reasons(what, sweep):
    runs, curves = sweep
    analysed(runs, CURVES[what](curves))


COMPARED = ["p", "arch", "loss", "dtype", "arm", "gamma", "fork_step", "w_c", "control_id", "clamp_from_step", "run_id"]
"""Columns that comparisons rest on; `test_odd_tables` drops every column of a plain grid."""


@pytest.mark.parametrize("column", [*COMPARED, "softmax_collapse_max", "steps_run"])
def test_a_missing_column_gives_numbers_or_reasons(column, sweep):
    runs, curves = sweep
    analysed(runs.drop(columns=column), curves)


def test_the_whole_sweep_supports_every_analysis(sweep):
    """Else the tests above would ask of some analysis nothing at all."""
    analysis = analysed(*sweep)
    family = max(analysis.families, key=lambda f: len(f.cells))
    parts = [family.collapse, family.recovery, family.law, family.mediation, family.mediators, family.equivalence]
    parts += [family.mediators.paper, family.mediators.differences, family.mediation.differences]
    parts += [family.survival, family.memorisation, family.allocation, *analysis.comparisons]
    parts += [next(f.transformer for f in analysis.families if dict(f.key.config)["arch"] != "mlp")]
    assert all(any(e.value is not None for e in estimates_in(part)) for part in parts)
    assert {c.kind for c in analysis.comparisons} == {"dissociation", "precision", "same_state", "shared_law"}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["one run a cell grokked", "all censored", "two seeds"])
def test_the_report_and_figures_of_a_damaged_sweep_are_made(what, sweep):
    runs, curves = sweep
    analysis = analysed(RUNS[what](runs[runs["seed"] < 2]), curves)
    made = [drawing.name for drawing in drawings(analysis) if svg(drawing)]
    assert made
    assert report_html(analysis)
    assert report_markdown(analysis)
