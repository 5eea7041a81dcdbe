"""Renderings: what the files promise, on a sweep that has everything and on one that has nothing."""

import html
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from analysis import analyze
from analysis.render import estimates_json, figures, numbers, report_html, report_markdown, terminal_tables
from analysis.render.canvas import png, svg
from analysis.render.drawings import OF_CELLS, OF_COMPARISONS, OF_SECTIONS, drawings
from analysis.render.methods import sentences
from analysis.sections import compared_sections, family_sections


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
