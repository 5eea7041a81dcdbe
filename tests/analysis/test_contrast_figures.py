"""Figures of mediation, rival mediators, matched pairs, losses, forks and precisions: what they say, whole or not."""

from dataclasses import replace
from unittest.mock import patch

import pytest
from matplotlib.text import Text

from grok_sweeps.analysis import analyze
from grok_sweeps.analysis.estimate import absent
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import blank_figure, png, svg
from grok_sweeps.analysis.render.drawings import OF_COMPARISONS, OF_SECTIONS, drawings
from grok_sweeps.analysis.render.equivalence_plot import PAIRS, equivalence_plot
from grok_sweeps.analysis.render.forest import FIRST, PAPER, RUNS, SECOND, Forest, Point, Row, no_point, point
from grok_sweeps.analysis.render.mediation_plot import mediation_plot
from grok_sweeps.analysis.render.mediators_plot import mediators_plot
from tests.analysis import contrast_rows, reference

SECTIONS = ("mediation", "mediators", "equivalence")
KINDS = ("dissociation", "same_state", "precision")


def analysed(make_runs, no_curves, rows, resamples=200):
    return analyze(make_runs(rows), no_curves, sweep="made", resamples=resamples)


@pytest.fixture(scope="module")
def full(make_runs):
    return analysed(make_runs, contrast_rows.curves(contrast_rows.full()), contrast_rows.full())


@pytest.fixture(scope="module")
def gaps(make_runs):
    return analysed(make_runs, contrast_rows.curves(contrast_rows.gaps()), contrast_rows.gaps())


def family_of(analysis):
    """The float32 runs under ce that are no forks."""
    return next(f for f in analysis.families if len(f.cells) > 10)


def comparison_of(analysis, kind):
    return next(c for c in analysis.comparisons if c.kind == kind and len(c.families) > 1)


def drawing_of(analysis, name):
    stem = name.replace("_", "-")
    return next(d for d in drawings(analysis) if d.name.startswith(stem))


def words_of(drawing):
    """All words in the painted figure with their boxes in pixels; ticks out of sight are never drawn."""
    drawn = {}

    def draw(self, *args, **options):
        if self.get_text() and self.get_visible():
            drawn[id(self)] = self
        return original(self, *args, **options)

    original = Text.draw
    figure = drawing.paint()
    with patch.object(Text, "draw", draw):
        figure.canvas.draw()
    return [(t.get_text(), t.get_window_extent()) for t in drawn.values()], figure.bbox


def drawn_texts(drawing):
    """All words in the painted figure."""
    return [text for text, _ in words_of(drawing)[0]]


def overlaps(drawing):
    """Words that lie over others or leave the figure."""
    boxes, page = words_of(drawing)
    out = [text for text, box in boxes if box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1]
    over = [
        (a, b)
        for i, (a, one) in enumerate(boxes)
        for b, other in boxes[i + 1 :]
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5 and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5
    ]
    return out + over


@pytest.mark.parametrize("name", [*SECTIONS, *KINDS])
@pytest.mark.parametrize("table", ["full", "gaps"])
def test_every_figure_paints_and_no_words_lie_over_each_other(table, name, request):
    drawing = drawing_of(request.getfixturevalue(table), name)
    assert png(drawing).startswith(b"\x89PNG")
    assert svg(drawing) == svg(drawing)
    assert not overlaps(drawing)


def test_all_of_them_are_registered():
    assert set(SECTIONS) <= set(OF_SECTIONS)
    assert set(KINDS) <= set(OF_COMPARISONS)


def numbers_of(estimates):
    """What a reader must find of each estimate that has a value."""
    return [
        f"{numbers.value(e)}{f' {numbers.interval(e)}' if e.interval else ''}" for e in estimates if e.value is not None
    ]


@pytest.mark.parametrize("table", ["full", "gaps"])
def test_the_alt_text_has_every_number_that_is_drawn(table, request):
    analysis = request.getfixturevalue(table)
    family = family_of(analysis)
    fits = (family.mediation.paper, family.mediation.runs)
    wanted = {
        "mediation": [fit[name] for fit in fits for name in ("acme", "ade", "total_effect")],
        "mediators": [e for e in family.mediators.runs.estimates if e.name.startswith(("lmg", "partial"))]
        + [e for e in family.mediators.paper.estimates if e.name.startswith("lmg")],
        "equivalence": [p[name] for p in family.equivalence.pairs for name in ("ln_ratio", "ln_ratio_medians")],
        "dissociation": [e for e in comparison_of(analysis, "dissociation").estimates if "all_runs" not in e.name],
        "same_state": [e for e in comparison_of(analysis, "same_state").estimates if "all_runs" not in e.name],
        "precision": [e for e in comparison_of(analysis, "precision").estimates if "rho_1.25" in e.name],
    }
    for name, estimates in wanted.items():
        drawing = drawing_of(analysis, name)
        found = numbers_of(estimates)
        assert found, name
        for number in found:
            assert number in drawing.alt, name


@pytest.mark.parametrize("name", [*SECTIONS, *KINDS])
def test_the_numbers_stand_beside_the_dots(name, full):
    drawing = drawing_of(full, name)
    beside = [t for t in drawn_texts(drawing) if "[" in t]
    assert len(beside) >= 3
    for text in beside:
        assert text.replace("−", "-") in drawing.alt, text


@pytest.mark.parametrize("name", [*SECTIONS, *KINDS])
def test_captions_say_how_the_interval_was_made_and_what_it_rests_on(name, full):
    caption = drawing_of(full, name).caption
    assert "interval" in caption
    assert "200 resamples of 8 seeds, seed 0" in caption
    assert "runs" in caption
    assert " cell" in caption


def test_the_caveat_is_in_the_caption_of_mediation(full):
    family = family_of(full)
    assert family.mediation.caveat in mediation_plot(family, "mediation").caption


def without(fit):
    """The same convention with a reason in place of every number."""
    gone = tuple(absent(e.name, e.unit, e.method, "made to be absent") for e in fit.estimates)
    return replace(fit, estimates=gone, **({"curve": (), "curve_given_tau": ()} if hasattr(fit, "curve") else {}))


@pytest.mark.parametrize("convention", ["paper", "runs"])
@pytest.mark.parametrize(("section", "draw"), [("mediation", mediation_plot), ("mediators", mediators_plot)])
def test_without_one_convention_the_other_is_drawn_and_the_caption_says_why(convention, section, draw, full):
    family = family_of(full)
    fitted = getattr(family, section)
    halved = replace(family, **{section: replace(fitted, **{convention: without(getattr(fitted, convention))})})
    drawing = draw(halved, "half")
    assert png(drawing)
    assert not overlaps(drawing)
    other = "paper" if convention == "runs" else "runs"
    texts = drawn_texts(drawing)
    assert f"convention {other}" in texts
    assert f"convention {convention}" not in texts
    assert any(f"(convention {other})" in t for t in texts), "the panel of one convention shows the one there is"
    assert "made to be absent" in drawing.caption


def test_the_curves_are_those_of_the_runs_and_one_where_tau_does_not_vary(full, make_runs, no_curves, grid):
    assert "Sensitivity (convention runs)" in drawn_texts(drawing_of(full, "mediation"))
    assert "given τ" in drawn_texts(drawing_of(full, "mediation"))
    analysis = analysed(make_runs, no_curves, grid(taus=(1.0,)))
    texts = drawn_texts(mediation_plot(analysis.families[0], "mediation"))
    assert "on x alone (τ does not vary)" in texts
    assert "given τ" not in texts


def test_a_rival_that_no_run_has_is_a_dash_with_its_reason(gaps):
    drawing = drawing_of(gaps, "mediators")
    texts = drawn_texts(drawing)
    assert texts.count("– no cell has turn_angle over …") == 1, "the shares begin with convention paper"
    assert texts.count("– no run has turn_angle_at_grok") == 1, "the pairs are of convention runs"
    assert "turn angle (runs)" in drawing.caption
    assert "no run has turn_angle_at_grok" in drawing.caption


def test_verdicts_of_pairs_stand_beside_them(full, gaps):
    family = family_of(full)
    texts = drawn_texts(drawing_of(full, "equivalence"))
    found = [p.equivalent for p in family.equivalence.pairs]
    assert True in found
    assert False in found
    assert sum(t.startswith("equivalent\np") for t in texts) == found.count(True)
    assert sum(t.startswith("not shown\np") for t in texts) == found.count(False)
    assert "no test" in drawn_texts(drawing_of(gaps, "equivalence"))
    assert "no test" in drawing_of(gaps, "equivalence").alt


def test_of_very_many_pairs_the_nearest_are_drawn_and_the_rest_counted(full):
    family = family_of(full)
    pairs = family.equivalence.pairs * 6
    assert len(pairs) > PAIRS
    drawing = equivalence_plot(replace(family, equivalence=replace(family.equivalence, pairs=pairs)), "many")
    assert f"Not drawn, to keep it readable: {len(pairs) - PAIRS} pairs." in drawing.caption
    assert sum(" [" in t for t in drawn_texts(drawing)) == 2 * PAIRS


def test_one_loss_alone_still_has_its_ratios(gaps):
    drawing = drawing_of(gaps, "dissociation")
    texts = drawn_texts(drawing)
    assert "cross-entropy (ce)" in texts
    assert "squared error (mse)" not in texts
    assert "loss mse lacks clamp cells" in drawing.caption
    assert "share of the norm effect left under mse none" in drawing.alt


def test_runs_that_did_not_grok_have_their_own_dots_where_they_matter(full, gaps):
    assert "not grokked as +∞" not in drawn_texts(drawing_of(full, "same_state"))
    late = drawing_of(gaps, "same_state")
    assert "not grokked as +∞" in drawn_texts(late)
    raised = comparison_of(gaps, "same_state")
    assert raised["delay_from_fork_raised"].value < raised["delay_from_fork_raised_all_runs"].value
    for name in ("delay_from_fork_raised", "delay_from_fork_raised_all_runs"):
        assert numbers.value(raised[name]) in late.alt


def test_a_median_beyond_the_budget_is_a_bound_and_no_number(full):
    drawing = drawing_of(full, "precision")
    texts = drawn_texts(drawing)
    bound = comparison_of(full, "precision")["float64_over_float32_at_least_rho_1.25"]
    assert "> 60,000" in texts
    assert f"≥ {numbers.value(bound)}" in texts
    assert "lower bound: beyond the budget" in texts
    assert "ρ 1.25: 8 of 8 runs in float32, 0 of 8 runs in float64." in drawing.caption
    assert "float64 over float32 at least at ρ 1.25" in drawing.alt


def test_the_published_runs_are_drawn_without_words_over_each_other(published_analysis):
    kinds = (*SECTIONS, *(kind.replace("_", "-") for kind in KINDS))
    made = [d for d in drawings(published_analysis) if d.name.startswith(kinds)]
    assert len(made) >= 9
    for drawing in made:
        assert not overlaps(drawing), drawing.name


def test_the_published_runs_show_the_published_ratios(published_analysis):
    alt = drawing_of(published_analysis, "same_state").alt
    assert "raised / same 3.356 [3.274, 3.427]" in alt
    assert "grokking step T under ce 3.429" in drawing_of(published_analysis, "dissociation").alt
    assert "grokking step T under mse 1.894" in drawing_of(published_analysis, "dissociation").alt


@pytest.fixture(scope="module")
def published_analysis():
    if not reference.RUNS.is_file():
        pytest.skip("the paper's runs are not part of the repository: no ../shared/reference/p59_runs.csv")
    runs, curves = reference.everything()
    return analyze(runs, curves, sweep=list(runs.sweep.unique()))


def forest_of(*values, log=False):
    rows = tuple(Row("row", (Point(v, None, f"{v}"),)) for v in values)
    axes = blank_figure(4, 3).add_subplot()
    Forest((FIRST,), rows).paint(axes, log=log)
    return axes


def test_a_log_axis_is_linear_where_a_number_is_not_positive():
    assert forest_of(2.0, 900.0, log=True).get_xscale() == "log"
    assert forest_of(-775.0, 900.0, log=True).get_xscale() == "linear"


@pytest.mark.parametrize("spread", [1.0, 1.05, 1.5, 4.0, 15.0, 200.0, 1e5])
def test_a_log_axis_has_ticks_whatever_it_spans(spread):
    axes = forest_of(1370.0, 1370.0 * spread, log=True)
    low, high = axes.get_xlim()
    shown = [t for t in axes.xaxis.get_major_locator()() if low <= t <= high]
    assert 1 <= len(shown) <= 9
    assert "e" not in axes.xaxis.get_major_formatter()(shown[0])


def test_an_interval_that_leaves_out_its_own_value_and_a_single_number_are_drawn(full):
    value = replace(family_of(full).mediation.runs["acme"], value=1.0, interval=(1.1, 1.2))
    rows = (Row("a", (point(value), no_point("because of something that needs many more words"))),)
    forest = Forest((PAPER, RUNS), rows)
    assert forest.shown == (0,)
    axes = blank_figure(4, 2).add_subplot()
    forest.paint(axes)
    assert axes.get_xlim()[1] > 1.2
    assert no_point("because of something that needs many more words").text == "– because of something that …"


def test_captions_group_what_is_absent_by_its_reason(full):
    one = absent("a", "1", "", "no runs")
    assert captions.absences([("A", one), ("B", one)]) == "Absent: A, B: no runs."
    known = family_of(full).mediation.runs["acme"]
    assert captions.absences([("A", known)]) == captions.intervals([("A", one)]) == ""
    lacking = replace(known, interval=None, interval_reason="one seed cannot be resampled")
    assert captions.intervals([("A", lacking), ("B", lacking)]) == "No interval: one seed cannot be resampled."
    assert captions.intervals([("A", lacking), ("B", known)]).endswith("No interval: A: one seed cannot be resampled.")
    assert captions.conventions([one], [known]) == "Convention runs: 13 cells, 104 runs."


def test_captions_name_the_numbers_whose_intervals_are_made_otherwise(full):
    effects = family_of(full).mediation.runs
    a, b, c = (effects[name] for name in ("acme", "ade", "total_effect"))
    one_way = captions.intervals([("A", a), ("B", b)])
    assert one_way.startswith("Whiskers: 95% interval (200 resamples of 8 seeds, seed 0), percentile")
    other = replace(b, method="Slope. Interval: t over seeds. And more.", resampling="")
    two_ways = captions.intervals([("A", a), ("B", other), ("C", c)], "Bars")
    assert two_ways.startswith("Bars, B: 95% interval, t over seeds. Bars, all others: 95% interval (200 resamples")
    assert "And more" not in two_ways


def test_ratios_of_forks_are_named_for_the_kinds_of_their_intervals(full):
    comparison = comparison_of(full, "same_state")
    assert captions.kind(comparison["raised_over_same"]) == "plain percentile"
    assert captions.kind(comparison["same_over_free"]) == "percentile"
    assert captions.kind(comparison["same_over_free_bca"]) == "BCa"
    assert captions.kind(absent("a", "1", "Ratio.", "no runs")) == ""
    drawing = drawing_of(full, "same_state")
    assert {"plain percentile / percentile", "BCa"} <= set(drawn_texts(drawing))
    assert (
        "Whiskers of ratios, raised / same: 95% interval (200 resamples of 8 seeds, seed 0), as published: plain"
        in (drawing.caption)
    )


def test_series_differ_without_colour():
    assert FIRST.marker != SECOND.marker
    assert FIRST.filled != SECOND.filled


def test_one_seed_has_dots_without_whiskers(make_runs, no_curves):
    rows = [r for r in contrast_rows.full() if r["seed"] == 0]
    analysis = analysed(make_runs, no_curves, rows)
    drawing = drawing_of(analysis, "mediation")
    assert png(drawing)
    assert "No interval: " in drawing.caption
    assert not [t for t in drawn_texts(drawing) if "[" in t]
