"""Renderings: what the files promise, on a sweep that has everything and on one that has nothing."""

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from analysis import analyze
from analysis.render import estimates_json, figures, report_html, terminal_tables
from analysis.render.canvas import png, svg
from analysis.render.drawings import drawings


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


def test_every_family_has_its_figures_as_png_and_svg(painted):
    stems = {f"{kind}-p{p}" for kind in ("heatmap", "collapse", "accuracy") for p in (59, 97)}
    assert set(painted) == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    for name, content in painted.items():
        if name.endswith("png"):
            assert content.startswith(b"\x89PNG")
            assert len(content) > 5_000
        else:
            assert ET.fromstring(content).tag.endswith("svg")


def test_painting_leaves_no_global_state_and_is_repeatable(analysis, painted):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    first = drawings(analysis)[0][0]
    assert (svg(first), png(first)) == (painted[f"{first.name}.svg"], painted[f"{first.name}.png"])
    assert dict(mpl.rcParams) == before


def test_the_figures_of_a_single_family_have_plain_names(make_runs, no_curves):
    analysis = analyze(make_runs([{"grokked_step": 1000}]), no_curves, sweep=["made"])
    assert "heatmap.png" in figures(analysis)


def test_with_nothing_to_draw_a_figure_and_a_report_still_exist():
    analysis = analyze(pd.DataFrame(), pd.DataFrame(), sweep=["made"])
    painted = figures(analysis)
    assert set(painted) == {f"{n}.{k}" for n in ("heatmap", "collapse", "accuracy") for k in ("png", "svg")}
    assert "no run of sweep" in report_html(analysis, figures=painted)


def test_the_json_is_strict_and_complete(analysis):
    document = json.loads(estimates_json(analysis), parse_constant=pytest.fail)
    family = document["families"][0]
    assert [e["name"] for e in family["collapse"]["estimates"]][:3] == ["r2_logit_scale", "r2_rho", "r2_both"]
    for estimate in (*family["collapse"]["estimates"], family["recovery"]):
        assert set(estimate) >= {
            "value",
            "interval",
            "level",
            "method",
            "unit",
            "n_runs",
            "n_cells",
            "left_out",
            "reason",
        }
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
    assert all(v.startswith("data:image/svg+xml;base64,") for v in links.fetched)
    assert not {"script", "link", "iframe", "object"} & set(links.tags)
    assert not re.search(r"https?://|@import|url\(", report)


def test_the_report_escapes_what_the_table_says(report):
    assert "&lt;made&gt; &amp; co" in report
    assert "<made>" not in report


def test_the_report_says_how_every_number_was_computed(analysis, report):
    from markupsafe import escape

    for family in analysis.families:
        assert str(escape(family.collapse.method)) in report, "what the estimates share, said once"
        for estimate in (*family.collapse.estimates, family.recovery):
            own = estimate.method.removesuffix(family.collapse.method)
            assert own.strip(), estimate.name
            assert str(escape(own)) in report, estimate.name
            assert str(escape(estimate.reason)) in report
        for cell in family.cells:
            assert str(escape(cell.grokked_step.reason)) in report
    for name, version in analysis.versions:
        assert f"{name} {version}" in report
    assert "100 resamples, seed 0" in report


def test_the_report_has_figures_before_tables_and_both_colour_schemes(report):
    assert report.index("<img") < report.index("<table")
    assert "prefers-color-scheme: dark" in report
    assert "@media print" in report


def test_the_terminal_shows_every_cell_and_estimate(analysis):
    console = Console(width=200, record=True, quiet=True)
    tables = terminal_tables(analysis)
    for table in tables:
        console.print(table)
    assert len(tables) == 1 + 2 * len(analysis.families)
    assert tables[1].row_count == len(analysis.families[0].cells)
    assert tables[2].row_count == len(analysis.families[0].collapse.estimates) + 1
