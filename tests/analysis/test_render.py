"""Renderings: what the files promise, on a sweep that has everything and on one that has nothing."""

import html
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from grok_sweeps.analysis import analyze
from grok_sweeps.analysis.estimate import Estimate, absent
from grok_sweeps.analysis.render import (
    cell_rows,
    estimates_json,
    figures,
    numbers,
    report_html,
    report_markdown,
    terminal_tables,
)
from grok_sweeps.analysis.render.canvas import png, svg
from grok_sweeps.analysis.render.drawings import OF_CELLS, OF_COMPARISONS, OF_SECTIONS, drawings
from grok_sweeps.analysis.render.methods import of_interval, sentences, shared_sentences
from grok_sweeps.analysis.render.page import page_of
from grok_sweeps.analysis.section import Compared
from grok_sweeps.analysis.sections import compared_sections, family_sections


@pytest.fixture(scope="module")
def analysis(make_runs, make_curves, grid):
    """A sweep with free and clamp cells, one censored, one missing, and two moduli."""
    rows = [r for r in grid(taus=(1.0, 1.7), seeds=3) if (r["rho"], r["tau"]) != (1.05, 1.7)]
    rows += [{**r, "arm": "free", "rho": None} for r in grid(rhos=(1.0,), taus=(1.0,), seeds=3)]
    rows += [
        {"rho": 1.2, "tau": 1.0, "seed": s, "outcome": "censored", "grokked_step": None, "max_steps": 9_000}
        for s in range(3)
    ]
    rows += [{**r, "p": 97} for r in grid(rhos=(1.0,), taus=(1.0,), seeds=2)]
    runs = make_runs({**r, "sweep": "<made> & co"} for r in rows)
    return analyze(runs, make_curves(runs), sweep="<made> & co", n_planned=40, resamples=100)


@pytest.fixture(scope="module")
def painted(analysis):
    return figures(analysis)


@pytest.fixture(scope="module")
def report(analysis, painted):
    return report_html(analysis, figures=painted)


def test_every_analysis_that_has_numbers_has_its_figure_as_png_and_svg(analysis, painted):
    wanted = set()
    for family in analysis.families:
        wanted |= {f"{kind}-{family.key.slug}" for kind in OF_CELLS}
        supported = {s.name for s in family_sections(family) if not s.missing}
        wanted |= {f"{name}-{family.key.slug}" for name in supported & set(OF_SECTIONS)}
    wanted |= {c.slug for c, _ in compared_sections(analysis) if c.kind in OF_COMPARISONS}
    assert {"heatmap-p59", "collapse-p59", "accuracy-p97"} <= wanted
    assert set(painted) == {f"{stem}.{kind}" for stem in wanted for kind in ("png", "svg")}
    for name, content in painted.items():
        if name.endswith("png"):
            assert content.startswith(b"\x89PNG")
            assert len(content) > 5_000
        else:
            assert ET.fromstring(content).tag.endswith("svg")


def test_painting_leaves_no_global_state_and_is_repeatable(analysis, painted):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    first = next(iter(drawings(analysis)))
    assert (svg(first), png(first)) == (painted[f"{first.name}.svg"], painted[f"{first.name}.png"])
    assert dict(mpl.rcParams) == before


def test_the_figures_of_a_single_family_have_plain_names(make_runs, no_curves):
    analysis = analyze(make_runs([{"grokked_step": 1000}]), no_curves, sweep=["made"])
    assert "heatmap.png" in figures(analysis)


def test_with_nothing_to_draw_the_report_says_so():
    analysis = analyze(pd.DataFrame(), pd.DataFrame(), sweep=["made"])
    assert figures(analysis) == {}
    assert "has no run of this sweep" in report_html(analysis)
    assert "has no run of this sweep" in report_markdown(analysis)


def test_the_json_is_strict_and_complete(analysis):
    document = json.loads(estimates_json(analysis), parse_constant=pytest.fail)
    sections = {s["name"]: s for s in document["families"][0]["sections"]}
    assert {s.name for s in family_sections(analysis.families[0])} == set(sections)
    rows = {row["name"]: row for row in sections["collapse"]["conventions"]}
    assert list(rows)[:3] == ["r2_logit_scale", "r2_rho", "r2_both"]
    recovery = sections["recovery"]["groups"][0]["estimates"][0]
    fields = {"value", "interval", "level", "method", "unit", "n_runs", "n_cells", "left_out", "reason", "resampling"}
    for estimate in (rows["r2_rho"]["paper"], rows["r2_rho"]["runs"], rows["r2_rho"]["difference"], recovery):
        assert set(estimate) >= fields
    assert {c["name"] for c in document["comparisons"]} >= {"dissociation", "precision", "same_state", "shared_law"}
    assert all(c["missing"] or any(c["groups"]) for c in document["comparisons"])
    assert document["counts"]["n_missing"] == 40 - analysis.counts.n_rows
    assert set(document["versions"]) >= {"statsmodels", "numpy"}


class Links(HTMLParser):
    """Collects tags and whatever a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action") and v]


def test_the_report_fetches_nothing_and_runs_nothing(report):
    links = Links()
    links.feed(report)
    assert links.fetched
    assert all(v.startswith(("data:image/svg+xml;base64,", "#")) for v in links.fetched)
    assert not {"script", "link", "iframe", "object"} & set(links.tags)
    assert not re.search(r"https?://|@import|url\(", report)


def test_a_notebook_shows_the_report_and_the_figures(analysis):
    shown = analysis._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert html.unescape(html.unescape(shown)).count("<made> & co") >= 1
    assert "<script" not in shown
    assert next(iter(drawings(analysis)))._repr_svg_().lstrip().startswith("<?xml")


def test_small_numbers_keep_their_digits():
    assert [numbers.plain(v) for v in (0.0, -1e-15, 4.2e-7, -0.00042, 0.0417, 12.5, 1234.5)] == [
        "0.000",
        "0.000",
        "4.2e-07",
        "-0.00042",
        "0.042",
        "12.500",
        "1234",
    ]


def test_the_report_escapes_what_the_table_says(report):
    assert "&lt;made&gt; &amp; co" in report
    assert "<made>" not in report


@pytest.mark.parametrize("written", [report_html, report_markdown])
def test_the_report_says_how_every_number_was_computed(analysis, written):
    report = written(analysis)
    told = _plain(report)
    parts = [section for family in analysis.families for section in family_sections(family)]
    parts += [section for _, section in compared_sections(analysis)]
    assert len(parts) >= 20
    for section in parts:
        if section.missing:
            assert _plain(section.missing) in told
            continue
        for estimate in section.estimates:
            shown = f"{estimate.name.removesuffix('_runs').removesuffix('_minus_paper')}"
            assert _plain(shown.removesuffix("_runs")) in told
            assert numbers.value(estimate) in told
            for sentence in sentences(estimate.method):
                assert _plain(sentence) in told or estimate.name.endswith("_runs_minus_paper"), estimate.name
            assert _plain(estimate.reason) in told
            assert all(_plain(why) in told for why in estimate.left_out)
    for name, version in analysis.versions:
        assert f"{name} {version}" in report
    assert "100 resamples, seed 0" in report


RESAMPLED = "Interval: percentile bootstrap over seeds."


def made(interval, how, resampling="", method="R² of y."):
    return Estimate("made", 1.0, "1", f"{method} {how}".strip(), interval, resampling=resampling)


def test_what_is_said_of_intervals_above_a_table_holds_for_every_row_that_has_one():
    drawn = made((0.0, 2.0), RESAMPLED, "100 resamples of 3 seeds, seed 0")
    told = ["Level 95 %.", "Resampling: 100 resamples of 3 seeds, seed 0."]
    for lacking in (absent("made", "1", "R² of y.", "no run"), made(None, "")):
        common, (_, nothing) = shared_sentences([drawn, lacking])
        assert common == ["R² of y.", RESAMPLED, *told]
        assert nothing == []
    common, (first, second) = shared_sentences([drawn, made((0.0, 2.0), "Interval: t over seeds.")])
    assert common == ["R² of y.", "Level 95 %."]
    assert first == [RESAMPLED, told[1]]
    assert second == ["Interval: t over seeds."]
    common, (first, second) = shared_sentences([drawn, made((0.0, 2.0), RESAMPLED)])
    assert common == ["R² of y.", RESAMPLED, "Level 95 %."]
    assert (first, second) == ([told[1]], [])
    assert shared_sentences([]) == ([], [])


def test_every_interval_of_the_report_has_its_level_and_resampling_above_or_beside_it(analysis):
    page = page_of(analysis)
    parts = [part for family in page.families for part in family.parts] + [c.part for c in page.comparisons]
    seen = 0
    for table in (t for part in parts for t in part.tables):
        hoisted, _, legend = table.method.partition(" [a] ")
        above = of_interval(sentences(hoisted))
        for row in table.rows:
            if row.estimate.interval is None:
                continue
            said = f"{row.remark} {legend}"
            for wanted in (f"Level {100 * row.estimate.level:g} %.", f"Resampling: {row.estimate.resampling}."):
                is_due = wanted != "Resampling: ."
                assert not is_due or wanted in above or wanted in said, row.estimate.name
                seen += is_due
            assert row.estimate.resampling or not any(s.startswith("Resampling: ") for s in above), row.estimate.name
    assert seen > 20


def test_intervals_of_differences_of_the_conventions_are_told(analysis):
    report = _plain(report_markdown(analysis))
    (sentence,) = {sentences(d.method)[-1] for d in analysis.families[0].collapse.difference}
    assert sentence.startswith("Interval: basic")
    assert f"**Runs − paper.** {sentence}" in report


def test_differences_without_interval_say_why_once():
    from grok_sweeps.analysis.render.page import _conventions

    both = made((0.0, 2.0), RESAMPLED)
    apart = replace(both, interval=None, interval_reason="the two are resampled apart")
    rows = [Compared(name, both, both, difference) for name, difference in (("a", apart), ("b", apart))]
    assert _conventions(rows).difference.startswith("No interval: the two are resampled apart.")
    *_, (_, remark) = _conventions([*rows, Compared("d", both, both, both)]).rows
    assert "resampled apart" not in remark
    nothing = absent("made", "1", "R² of y.", "no run")
    lone = _conventions([Compared("a", nothing, both, absent("made", "1", "", "no run"))])
    assert lone.difference == ""
    assert "Runs − paper" not in lone.rows[0][1], "that the one has no value says it"


def _plain(text):
    """What a reader sees: no escapes, no line breaks."""
    return re.sub(r"\s+", " ", html.unescape(text.replace("\\", ""))).strip()


def test_a_cell_of_a_markdown_table_cannot_be_broken(make_runs, no_curves):
    runs = make_runs([{"grokked_step": 1000, "sweep": "a|b <i>_c_\n# d"}])
    report = report_markdown(analyze(runs, no_curves, sweep="a|b <i>_c_\n# d"))
    assert report.startswith("# a\\|b &lt;i>\\_c\\_ # d\n")


def test_the_report_has_figures_before_tables_and_both_colour_schemes(report):
    assert report.index("<img") < report.index("<table")
    assert "prefers-color-scheme: dark" in report
    assert "@media print" in report


def test_the_terminal_shows_every_cell_and_estimate(analysis):
    console = Console(width=200, file=io.StringIO())
    tables = terminal_tables(analysis)
    for table in tables:
        console.print(table)
    assert tables[1].row_count == len(analysis.families[0].cells)
    text = console.file.getvalue()
    sections = family_sections(analysis.families[0])
    for section in sections:
        if section.missing:
            assert f"not supported, {section.title}" in text
        for estimate in () if section.missing else section.headlines:
            assert estimate.name in text
            assert numbers.value(estimate) in text
    assert "of the 214 numbers that arXiv:2606.18465 prints" in text


@pytest.fixture(scope="module")
def odd(make_runs, make_curves):
    """Cells whose late runs were censored, diverged, or either, and a row that no estimate uses."""
    ends = {
        1.0: ("censored",) * 2,
        1.05: ("diverged",) * 2,
        1.1: ("censored", "diverged"),
        1.15: ("censored",) * 6,
        1.2: (),
    }
    rows = []
    for rho, late in ends.items():
        n_grokked = 6 - len(late)
        rows += [{"rho": rho, "seed": s, "grokked_step": 1000 + 25 * s} for s in range(n_grokked)]
        rows += [
            {"rho": rho, "seed": n_grokked + i, "outcome": outcome, "grokked_step": None}
            for i, outcome in enumerate(late)
        ]
    rows += [{"rho": 1.2, "seed": 9, "outcome": "lost", "grokked_step": None}]
    rows += [{"rho": 1.2, "seed": 10, "outcome": "failed", "grokked_step": None}]
    runs = make_runs(rows)
    return analyze(runs, make_curves(runs), sweep="made", resamples=20)


def printed(analysis):
    """The terminal's tables."""
    console = Console(width=240, file=io.StringIO())
    for table in terminal_tables(analysis):
        console.print(table)
    return console.file.getvalue()


def cells_by_dose(analysis):
    return {c.rho: c for c in analysis.families[0].cells}


def test_a_quartile_beyond_the_last_step_is_what_the_runs_there_are(odd):
    cells = cells_by_dose(odd)
    wanted = {
        1.0: "1,031.2 to censored",
        1.05: "1,031.2 to diverged",
        1.1: "1,031.2 to censored or diverged",
        1.15: "censored",
        1.2: "1,031.2 to 1,093.8",
    }
    shown = {rho: cell_rows.quartiles(cells[rho]) for rho in wanted}
    assert {rho: text.split(" to ")[-1] for rho, text in shown.items()} == {
        rho: text.split(" to ")[-1] for rho, text in wanted.items()
    }
    assert cell_rows.extent(cells[1.05]) == "1,000 to diverged"
    for text in (printed(odd), html.unescape(report_html(odd)), report_markdown(odd)):
        assert all(quartiles in text for quartiles in shown.values())


def test_the_heat_map_calls_a_cell_without_median_what_its_runs_are(odd):
    heatmap = next(d for d in drawings(odd) if d.name.startswith("heatmap"))
    assert "rho 1.15, tau 1: censored, 0/6 grokked" in heatmap.alt


def test_rows_that_no_estimate_uses_are_counted_wherever_the_outcomes_are(odd):
    assert odd.counts.n_unknown == 1
    assert cell_rows.n_unused(cells_by_dose(odd)[1.2]) == 1
    page = report_html(odd)
    assert re.search(r"<dt>unused</dt><dd>1</dd>", page)
    assert 'href="#repairs"' in page
    assert 'id="repairs"' in page
    c = odd.counts
    outcomes = f"{c.n_grokked} | {c.n_censored} | {c.n_diverged} | 1 | 1"
    assert f"| – | {c.n_rows} | {outcomes} | – |" in report_markdown(odd)
    for report in (page, report_markdown(odd)):
        assert "1 row of the table is in no estimate" in _plain(report)
    text = printed(odd)
    assert re.search(r"failed . unused . missing", text)
    assert "1 failed, 1 unused" in text


def test_markdown_says_of_cells_what_html_says(analysis, odd):
    for result in (analysis, odd):
        said = [cell_rows.remarks(c) for f in result.families for c in f.cells]
        assert any(said)
        for report in (report_html(result), report_markdown(result)):
            told = _plain(report)
            assert all(_plain(remark) in told for remark in said)
    remark = cell_rows.remarks(cells_by_dose(odd)[1.2])
    assert "Left out: 1 failed; 1 with an unknown or contradictory outcome" in remark
    assert "did not reach it" in cell_rows.remarks(cells_by_dose(odd)[1.15])


def test_the_collapse_says_what_is_regressed(analysis):
    section = next(s for s in family_sections(analysis.families[0]) if s.name == "collapse")
    for report in (report_html(analysis), report_markdown(analysis)):
        assert _plain(section.question) in _plain(report)
    assert "y = ln T" in section.question
    assert "not of the delay" in section.question


def test_painting_leaves_the_garbage_collector_as_it_was(analysis, monkeypatch):
    import gc

    before = gc.get_freeze_count()
    figures(analysis)
    assert gc.get_freeze_count() == before
    monkeypatch.setattr("grok_sweeps.analysis.render.drawings.drawings", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        figures(analysis)
    assert gc.get_freeze_count() == before


def _raise(*_: object) -> None:
    raise ValueError("no such\ncolour <here>")


@pytest.mark.parametrize("where", ["as it is made", "as it is painted"])
def test_figures_that_cannot_be_drawn_cost_no_number(analysis, monkeypatch, where):
    names = [d.name for d in drawings(analysis)]
    for table in (OF_CELLS, OF_SECTIONS, OF_COMPARISONS):
        for kind, draw in table.items():
            monkeypatch.setitem(table, kind, _raise if where == "as it is made" else _painted_by(draw, _raise))
    made = figures(analysis)
    assert dict(made) == {}
    assert made.missing == dict.fromkeys(names, "ValueError: no such colour <here>")
    markdown = report_markdown(analysis, figures=made)
    assert "![" not in markdown
    for document in (report_html(analysis, figures=made), report_html(analysis), markdown):
        shown = _plain(document)
        for name in names:
            assert f"The figure {_plain(name)} could not be drawn: ValueError: no such colour <here>." in shown
        for estimate in page_of(analysis).families[0].parts[0].section.estimates:
            assert estimate.value is None or numbers.value(estimate) in shown


def _painted_by(draw, paint):
    return lambda *given: replace(draw(*given), paint=paint)


def test_a_figure_that_cannot_be_encoded_is_left_out_whole(analysis, monkeypatch):
    two = list(drawings(analysis))[:2]
    monkeypatch.setattr("grok_sweeps.analysis.render.drawings.drawings", lambda _: iter(two))
    monkeypatch.setattr("grok_sweeps.analysis.render.drawings.encoded", _raise)
    made = figures(analysis)
    assert dict(made) == {}
    assert set(made.missing) == {d.name for d in two}
