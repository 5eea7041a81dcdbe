"""Figures of single analyses: they paint on any table, tell their numbers in words, and no text covers another."""

import io
import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from grok_sweeps.analysis import analyze
from grok_sweeps.analysis.comparisons import MODULI
from grok_sweeps.analysis.methods.forms import EXPONENTIAL, POWER, SADDLE_NODE, fit_forms, fitted_forms
from grok_sweeps.analysis.render import canvas, numbers
from grok_sweeps.analysis.render.allocation_plot import allocation_plot
from grok_sweeps.analysis.render.canvas import LogTicks, png, svg
from grok_sweeps.analysis.render.collapse_plot import collapse_plot
from grok_sweeps.analysis.render.drawings import of_comparison, of_section
from grok_sweeps.analysis.render.memorisation_plot import memorisation_plot
from grok_sweeps.analysis.render.recovery_plot import recovery_plot
from grok_sweeps.analysis.render.transformer_plot import transformer_plot
from grok_sweeps.analysis.sections import family_sections
from grok_sweeps.analysis.table.cells import median_of_grokked

KINDS = ("law", "recovery", "survival", "memorisation", "allocation", "transformer")
ARCH = "transformer_no_layernorm"


@pytest.fixture(scope="module")
def tables(make_runs, no_curves_at_all, grid):
    """Analyses by name: full (three moduli, every figure), censored, and 60 cells on every axis."""

    def held(**wanted):
        return [{**r, "w_c": 54.0, "control_id": "control"} for r in grid(**wanted)]

    def allocated(gammas, **wanted):
        rows = [(g, r) for i, g in enumerate(gammas) for r in held(rhos=(1.0,), taus=(1.0,), seed=i, **wanted)]
        return [{**r, "arm": "allocation", "gamma": float(g), "cell_id": f"g{g}", "run_id": f"g{g}-{r['seed']}"}
                for g, r in rows]  # fmt: skip

    def until(step, rows):
        ended = {"grokked_step": None, "logit_scale_at_grok": None, "outcome": "censored", "steps_run": step}
        return [r if r["grokked_step"] < step else {**r, **ended} for r in rows]

    def analysis(rows):
        return analyze(make_runs(rows), no_curves_at_all, sweep="made", resamples=50)

    doses = (0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3)
    taus = (1.0, 1.15, 1.3, 1.7, 2.0)
    full = [r | {"p": p} for i, p in enumerate((59, 97, 113)) for r in held(rhos=doses, taus=taus, seed=i)]
    full += allocated((-0.6, -0.3, 0.0, 0.3, 0.6), noise=0.2)
    full += [r | {"arch": ARCH} for r in held(rhos=(1.0, 1.15), taus=taus, noise=0.3)]
    some = until(9_000, held(rhos=doses, taus=(1.0, 1.3, 2.0), seeds=8, noise=0.25))
    some += until(2_600, allocated((-0.6, 0.0, 0.6), seeds=8, noise=0.5))
    some += [r | {"arch": ARCH} for r in until(9_000, held(rhos=(1.0, 1.15), taus=taus, seeds=8, noise=0.4))]
    dense = np.round(np.linspace(1.0, 2.5, 60), 3).tolist()
    many = held(rhos=(1.0, 1.15), taus=dense) + allocated(np.round(np.linspace(-0.9, 0.9, 60), 3).tolist())
    many += held(rhos=np.round(np.linspace(0.85, 1.4, 58), 3).tolist(), taus=(1.0,))
    many += [r | {"arch": ARCH} for r in held(rhos=(1.0, 1.15), taus=dense, noise=0.3)]
    return {"full": analysis(full), "censored": analysis(some), "many": analysis(many)}


@pytest.fixture(scope="module")
def no_curves_at_all(make_curves, make_runs):
    return make_curves(make_runs([{"grokked_step": 1000}])).iloc[:0]


def drawn(analysis, kind):
    """The figures of one kind, each with the family or the comparison that it shows."""
    if kind == MODULI:
        return [(c, d) for c in analysis.comparisons if c.kind == kind and c.known for d in of_comparison(analysis, c)]
    sections = [(f, s) for f in analysis.families for s in family_sections(f) if s.name == kind]
    return [(f, d) for f, s in sections for d in of_section(f, s)]


def texts(figure):
    """Every text that is seen, with its place in pixels; tick labels beyond the limits of their axis are not."""
    seen = list(figure.texts)
    for legend in figure.legends:
        seen += legend.get_texts()
    panels = [a for a in figure.axes if a.get_visible()]
    for axes in (*panels, *itertools.chain.from_iterable(a.child_axes for a in panels)):
        seen += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            seen += [label for tick in ticks for label in (tick.label1, tick.label2)]
    renderer = figure.canvas.get_renderer()
    told = [t for t in seen if isinstance(t, Text) and t.get_visible() and t.get_text().strip()]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in told]


def covered(figure):
    """Pairs of texts that overlap, and texts that leave the page."""
    figure.canvas.draw()
    placed = texts(figure)
    page = figure.bbox
    off = [a for a, box in placed if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1]
    pairs = itertools.combinations(placed, 2)
    return off + [
        (a, b)
        for (a, one), (b, other) in pairs
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 1 and min(one.y1, other.y1) - max(one.y0, other.y0) > 1
    ]


@pytest.mark.parametrize("kind", [*KINDS, MODULI])
def test_every_figure_paints_on_a_full_table(tables, kind):
    ((_, drawing), *_) = drawn(tables["full"], kind)
    assert png(drawing).startswith(b"\x89PNG")
    assert ET.fromstring(svg(drawing)).tag.endswith("svg")


@pytest.mark.parametrize(
    ("table", "kind"),
    [("full", k) for k in (*KINDS, MODULI)] + [("censored", k) for k in KINDS] + [("many", k) for k in KINDS],
)
def test_no_text_covers_another_or_leaves_the_page(tables, table, kind):
    figures = drawn(tables[table], kind)
    assert figures
    for _, drawing in figures:
        with mpl.rc_context(canvas._STYLE):
            assert covered(drawing.paint()) == [], drawing.name


def test_the_words_of_the_law_tell_its_numbers_and_why_a_cell_is_hollow(tables):
    family, drawing = drawn(tables["full"], "law")[0]
    law = family.law
    for name in ("alpha_per_norm_unit", "alpha_per_rho", "r_squared"):
        assert numbers.told(law[name]) in drawing.alt
        assert law[name].interval is not None
    assert f"power law, ΔAIC {law['delta_aic_power'].value:+.1f}" in drawing.alt
    for cell in law.cells:
        assert numbers.told(median_of_grokked(cell)) in drawing.alt
    assert "6 cells, 36 runs, 36 grokked" in drawing.caption
    assert "Hollow, not in the fit: 2 cells, rho is above 1.15." in drawing.caption


def test_the_forms_drawn_are_those_whose_scores_are_told(tables):
    law = tables["full"].families[0].law
    x = np.array([c.held_norm for c in law.cells])
    y = np.log([c.grokked_step.value for c in law.cells])
    scores = fit_forms(y[None], x)
    assert [f.form for f in law.forms] == [EXPONENTIAL, POWER, SADDLE_NODE]
    assert law.forms == fitted_forms(y, x)
    for fitted in law.forms:
        off = np.log(fitted.steps(x)) - y
        assert off.mean() == pytest.approx(0, abs=1e-9)
        assert (off**2).sum() == pytest.approx(scores.rss[fitted.form][0], rel=1e-6)
    assert law.forms[0].coefficient == pytest.approx(law["alpha_per_norm_unit"].value)


def test_without_w_c_the_law_is_drawn_over_the_dose(make_runs, no_curves, grid):
    analysis = analyze(make_runs(grid(taus=(1.0,))), no_curves, sweep="made", resamples=20)
    ((family, drawing),) = drawn(analysis, "law")
    assert not family.law.by_norm
    assert [f.form for f in family.law.forms] == [EXPONENTIAL, POWER, SADDLE_NODE]
    assert f"α {numbers.told(family.law['alpha_per_rho'])} per unit of ρ; " in drawing.alt
    assert png(drawing)


def test_the_level_t2_of_the_recovery_figure_is_t_at_the_l_of_the_baseline(tables):
    family, drawing = drawn(tables["full"], "recovery")[0]
    baseline, *raised = family.recovery.cells
    raised.sort(key=lambda c: c.logit_scale.value)
    scales, steps = ([getattr(c, n).value for c in raised] for n in ("logit_scale", "grokked_step"))
    matched = np.interp(baseline.logit_scale.value, scales, steps)
    assert f"T₂ {numbers.steps(round(matched, 1))}" in drawing.alt
    assert f"T₀ {numbers.steps(baseline.grokked_step.value)}" in drawing.alt
    assert numbers.told(family.recovery.paper) in drawing.alt
    assert "6 cells, 36 runs, 36 grokked" in drawing.caption


def test_without_cell_id_each_cell_still_has_its_own_l(make_runs, no_curves, grid):
    """All cells of such a table are called `unknown`."""
    runs = make_runs(grid(rhos=(1.0, 1.15), taus=(1.0, 1.5, 2.2))).drop(columns="cell_id")
    analysis = analyze(runs, no_curves, sweep="made", resamples=0)
    family, drawing = drawn(analysis, "recovery")[0]
    assert {c.cell_id for c in family.cells} == {"unknown"}
    told = re.findall(r"[,:] L ([0-9.]+)", drawing.alt)
    own = [c.logit_scale for c in family.cells if numbers.plain(c.logit_scale.value) in told]
    assert len(told) == len(set(told)) == len(own) == 4, drawing.alt


def test_names_of_levels_that_meet_are_moved_apart():
    from grok_sweeps.analysis.render.recovery_plot import _kept_apart

    assert _kept_apart([100.0, 102.0, 500.0], 10.0) == [100.0, 110.0, 500.0]
    assert _kept_apart([100.0, 95.0, 500.0], 10.0) == [105.0, 95.0, 500.0]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("memorisation", ("memorized_elasticity_tau", "delay_elasticity_tau", "delay_share_of_tau_effect")),
        ("allocation", ("allocation_max_over_min", "allocation_logit_scale_max_over_min", "allocation_r2_logit_scale")),
        ("transformer", ("norm_up_tau1_over_tau1.7", "transformer_norm_up_ratio", "transformer_r2_logit_scale")),
    ],
)
def test_the_words_of_a_figure_tell_its_numbers_with_their_intervals(tables, kind, names):
    for family, drawing in drawn(tables["full"], kind):
        told = {e.name: e for e in getattr(family, kind)}
        for name in names:
            assert told[name].interval is not None
            assert numbers.told(told[name]) in drawing.alt
        assert " cells, " in drawing.caption
        assert " grokked." in drawing.caption


def test_the_words_of_the_shared_law_tell_the_slope_and_its_test(tables):
    ((comparison, drawing),) = drawn(tables["full"], MODULI)
    slope, p = comparison["shared_alpha_rho"], comparison["equal_alpha_rho_p"]
    assert f"common slope α = {numbers.told(slope)} per unit of ρ" in drawing.alt
    assert f"p = {p.value:.2g}" in drawing.alt
    assert "3 moduli, 18 cells, 108 runs, 108 grokked." in drawing.caption


def test_a_cell_that_did_not_grok_is_an_arrow_and_a_part_that_did_is_told(tables):
    family, drawing = drawn(tables["censored"], "law")[0]
    lost = [c for c in family.cells if c.arm == "clamp" and c.tau == 1 and 2 * c.n_grokked <= c.n_counted]
    assert lost
    for cell in lost:
        assert f"beyond the budget ({cell.n_grokked} of {cell.n_counted} grokked)" in drawing.alt
    assert "Arrow: half or more of its runs did not grok" in drawing.caption
    assert "no majority grokked" in drawing.caption
    partly = [c for c in family.law.cells if c.n_grokked < c.n_counted]
    assert partly
    with mpl.rc_context(canvas._STYLE):
        shown = [t.get_text() for t in drawing.paint().axes[0].texts]
    assert {f"{c.n_grokked}/{c.n_counted}" for c in (*partly, *lost)} == set(shown)


def test_ratios_that_count_a_cell_without_median_say_so(tables):
    for kind in ("allocation", "transformer"):
        ((_, drawing),) = drawn(tables["censored"], kind)
        assert "over their seeds that grokked" in drawing.caption
        assert "over their seeds that grokked" not in drawn(tables["full"], kind)[0][1].caption


def test_every_censored_run_of_a_cell_drawn_is_a_tick_where_it_ended(tables):
    family, drawing = drawn(tables["censored"], "survival")[0]
    shown = [c for c in family.survival.curves if c.rho not in (1.0, 1.15)]
    n_ended = sum(len(c.ended) for c in shown)
    assert n_ended
    assert f"{n_ended} did not grok; 6 cells not drawn" in drawing.caption
    with mpl.rc_context(canvas._STYLE):
        panels = drawing.paint().axes
    ticks = [x for axes in panels for line in axes.lines if line.get_marker() == "|" for x in line.get_xdata()]
    assert sorted(ticks) == [9_000.0] * n_ended
    for axes in panels:
        dashes = [str(line._dash_pattern) for line in axes.lines if line.get_drawstyle() == "steps-post"]
        assert len(set(dashes)) == len(dashes) > 1, "temperatures are told apart without colour"


def test_doses_at_one_temperature_share_a_panel(tables, make_runs, no_curves, grid):
    analysis = analyze(make_runs(grid(taus=(1.0,))), no_curves, sweep="made", resamples=0)
    ((_, drawing),) = drawn(analysis, "survival")
    with mpl.rc_context(canvas._STYLE):
        figure = drawing.paint()
    assert [a.get_title(loc="left") for a in figure.axes] == ["τ = 1"]
    assert len(drawn(tables["full"], "survival")[0][1].paint().axes) == 6


def n_artists(drawing):
    with mpl.rc_context(canvas._STYLE):
        return [len(axes.lines) + len(axes.collections) for axes in drawing.paint().axes]


@pytest.mark.parametrize("kind", ["law", "memorisation", "allocation", "transformer"])
def test_more_cells_are_no_more_artists(tables, kind):
    few, many = (drawn(tables[table], kind)[0][1] for table in ("full", "many"))
    assert n_artists(many) == n_artists(few)


def test_ticks_of_a_log_axis_are_those_within_it():
    places = LogTicks(subs=(1.0, 2.0, 5.0))
    assert list(places.tick_values(450.0, 10_000.0)) == [500, 1000, 2000, 5000, 10_000]
    assert list(places.tick_values(10_000.0, 450.0)) == [500, 1000, 2000, 5000, 10_000], "also of an axis upside down"


def test_a_png_has_its_size_in_inches_and_no_alpha(tables):
    ((_, drawing), *_) = drawn(tables["full"], "law")
    with mpl.rc_context(canvas._STYLE):
        width, height = drawing.paint().get_size_inches()
    image = Image.open(io.BytesIO(png(drawing)))
    assert image.mode == "RGB"
    assert image.size == (200 * width, 200 * height)
    assert image.info["dpi"] == pytest.approx((200, 200), rel=1e-3)


def other_kind(estimate):
    """The same number with an interval of another kind."""
    head = estimate.method.partition("Interval: ")[0]
    return replace(estimate, method=f"{head}Interval: made up bootstrap over nothing.")


def test_the_caption_of_the_recovery_takes_the_kind_of_interval_from_the_estimate(tables):
    family, drawing = drawn(tables["full"], "recovery")[0]
    resampled = "95% interval (50 resamples of 6 seeds, seed 0)"
    assert f"Brackets, recovery fraction: {resampled}, as published: plain percentile bootstrap" in drawing.caption
    assert f"Brackets, all others: {resampled}, percentile bootstrap over seeds" in drawing.caption
    assert "Horizontal bars: 95% interval, t over seeds." in drawing.caption
    changed = replace(family, recovery=replace(family.recovery, paper=other_kind(family.recovery.paper)))
    assert "made up bootstrap over nothing" in recovery_plot(changed, "made").caption
    assert "plain percentile" not in recovery_plot(changed, "made").caption


@pytest.mark.parametrize(
    ("kind", "draw", "name"),
    [
        ("memorisation", memorisation_plot, "delay_elasticity_tau"),
        ("allocation", allocation_plot, "allocation_r2_logit_scale"),
        ("transformer", transformer_plot, "transformer_r2_logit_scale"),
    ],
)
def test_captions_take_the_kind_of_interval_from_the_estimate(tables, kind, draw, name):
    family, drawing = next((f, d) for f, d in drawn(tables["full"], kind))
    assert "made up" not in drawing.caption
    estimates = tuple(other_kind(e) if e.name == name else e for e in getattr(family, kind))
    assert "made up bootstrap over nothing" in draw(replace(family, **{kind: estimates}), "made").caption


def test_the_axis_and_the_caption_of_the_collapse_say_what_is_regressed(tables):
    family = tables["full"].families[0]
    ((_, drawing),) = [(f, d) for f, d in drawn(tables["full"], "collapse") if f is family]
    with mpl.rc_context(canvas._STYLE):
        left, _ = drawing.paint().axes
    assert left.get_ylabel() == "grokked step T (log axis: y = ln T)"
    assert "least squares of y = ln T" in drawing.caption
    fitted = replace(family.collapse, estimates=tuple(map(other_kind, family.collapse.estimates)))
    assert "made up bootstrap over nothing" in collapse_plot(replace(family, collapse=fitted), "made").caption


TINY = SimpleNamespace(
    one_run=[{"grokked_step": 1000}],
    one_censored=[{"grokked_step": None, "outcome": "censored", "steps_run": 500}],
    two_seeds=[{"rho": r, "tau": t, "seed": s, "grokked_step": 1000 + int(4000 * (r - 1) / t**2) * 25 + 25 * s,
                "logit_scale_at_grok": 20 * r**3 / t + s} for r in (1.0, 1.15) for t in (1.0, 1.7) for s in (0, 1)],
    one_seed=[{"rho": r, "w_c": 54.0, "grokked_step": int(1000 * r**9)} for r in (1.0, 1.05, 1.1, 1.15)],
    transformer=[{"arch": ARCH, "rho": r, "grokked_step": 1000 + int(9000 * (r - 1))} for r in (1.0, 1.05, 1.1)],
    allocation=[{"arm": "allocation", "gamma": g, "cell_id": f"g{g}", "run_id": f"g{g}", "grokked_step": 1000 + 500 * g}
                for g in (0, 1)],
    all_censored=[{"rho": r, "seed": s, "grokked_step": None, "outcome": "censored", "steps_run": 500}
                  for r in (1.0, 1.15) for s in range(3)],
)  # fmt: skip


@pytest.mark.parametrize("name", vars(TINY))
def test_a_tiny_table_paints_what_it_supports(make_runs, no_curves, name):
    analysis = analyze(make_runs(getattr(TINY, name)), no_curves, sweep="made", resamples=20)
    known = {s.name for f in analysis.families for s in family_sections(f) if not s.missing}
    for kind in KINDS:
        figures = drawn(analysis, kind)
        assert bool(figures) == (kind in known)
        for _, drawing in figures:
            assert png(drawing).startswith(b"\x89PNG")
            with mpl.rc_context(canvas._STYLE):
                assert covered(drawing.paint()) == [], drawing.name
