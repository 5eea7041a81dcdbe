"""The report's parts, ready to be written: the HTML and the Markdown template walk the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from grok_sweeps.analysis.claims import AGREES, DIFFERS, OTHER_CELLS, OTHER_NORM, SAME, UNDECIDED
from grok_sweeps.analysis.comparisons import Comparison
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.render.canvas import Drawing
from grok_sweeps.analysis.render.drawings import of_cells, of_comparison, of_section
from grok_sweeps.analysis.render.methods import of_interval, shared_sentences, with_letters
from grok_sweeps.analysis.result import Analysis, Family
from grok_sweeps.analysis.section import Compared, Section
from grok_sweeps.analysis.sections import compared_sections, family_sections, missing_comparisons

VERDICTS = (SAME, AGREES, DIFFERS, UNDECIDED, OTHER_CELLS, OTHER_NORM)


@dataclass(frozen=True, slots=True)
class Row:
    """One estimate and what is to be said of it alone."""

    estimate: Estimate
    remark: str


@dataclass(frozen=True, slots=True)
class EstimateTable:
    """Estimates with the method that they share."""

    label: str
    method: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ConventionTable:
    """Quantities by both conventions, the method of each and of the difference's intervals, and what each quantity is.

    Rows refer to the `legend` by letter.
    """

    paper: str
    runs: str
    difference: str
    legend: str
    rows: tuple[tuple[Compared, str], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One section of the report; `caveat` is empty where a caption has it already."""

    section: Section
    anchor: str
    figures: tuple[Drawing, ...]
    caveat: str
    conventions: ConventionTable | None
    tables: tuple[EstimateTable, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FamilyPage:
    """One family: figures of its cells, its analyses, and those that it does not support."""

    family: Family
    anchor: str
    figures: tuple[Drawing, ...]
    parts: tuple[Part, ...]
    missing: tuple[tuple[str, str], ...]
    cell_methods: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """One comparison between families."""

    comparison: Comparison
    part: Part


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    analysis: Analysis
    families: tuple[FamilyPage, ...]
    comparisons: tuple[ComparisonPage, ...]
    missing: tuple[tuple[str, str], ...]


def page_of(a: Analysis) -> Page:
    """The parts of an analysis in the order in which they are read."""
    families = []
    for number, family in enumerate(a.families, 1):
        sections = family_sections(family)
        families.append(
            FamilyPage(
                family,
                f"family-{number}",
                of_cells(family),
                tuple(_part(s, f"{s.name}-{number}", of_section(family, s)) for s in sections if not s.missing),
                tuple((s.title, s.missing) for s in sections if s.missing),
                family.cells[0].estimates if family.cells else (),
            )
        )
    comparisons = tuple(
        ComparisonPage(c, _part(section, f"comparison-{number}", of_comparison(a, c)))
        for number, (c, section) in enumerate(compared_sections(a), 1)
    )
    return Page(a, tuple(families), comparisons, missing_comparisons(a))


def _part(section: Section, anchor: str, figures: tuple[Drawing, ...]) -> Part:
    return Part(
        section,
        anchor,
        figures,
        "" if any(section.caveat in figure.caption for figure in figures) else section.caveat,
        _conventions(section.compared) if section.compared else None,
        tuple(_table(g.label, g.estimates) for g in section.groups if g.estimates),
        _unique(sentence for e in section.estimates for sentence in e.left_out),
    )


def _conventions(rows: Sequence[Compared]) -> ConventionTable:
    paper, own_paper = shared_sentences([row.paper for row in rows])
    runs, own_runs = shared_sentences([row.runs for row in rows])
    difference, own_difference = _differences(rows)
    own = zip(own_paper, own_runs, own_difference, strict=True)
    legend, texts = with_letters([list(_unique(chain.from_iterable(said))) for said in own])
    lack_paper, why_paper = _shared_lack([row.paper for row in rows], " by paper")
    lack_runs, why_runs = _shared_lack([row.runs for row in rows], " by runs")
    return ConventionTable(
        " ".join([*why_paper, *paper]),
        " ".join([*why_runs, *runs]),
        difference,
        legend,
        tuple(zip(rows, _joined(texts, lack_paper, lack_runs), strict=True)),
    )


def _differences(rows: Sequence[Compared]) -> tuple[str, list[list[str]]]:
    """What holds for the intervals of all differences of the two conventions, and what each row says of its own.

    Where one of the two has no value neither has the difference, and the row says so already.
    """
    known = {row.name: row.difference for row in rows if _both(row)}
    common, own = shared_sentences(list(known.values()))
    lacks, why = _shared_lack(list(known.values()))
    each = {
        name: [*(of_interval(told) if e.interval else ()), *filter(None, [lack])]
        for (name, e), told, lack in zip(known.items(), own, lacks, strict=True)
    }
    hoisted = of_interval(common) if any(e.interval for e in known.values()) else []
    return " ".join([*why, *hoisted]), [[f"Runs − paper: {s}" for s in each.get(row.name, ())] for row in rows]


def _both(row: Compared) -> bool:
    return row.paper.value is not None and row.runs.value is not None


def _table(label: str, estimates: Sequence[Estimate]) -> EstimateTable:
    common, own = shared_sentences(estimates)
    legend, texts = with_letters(own)
    lacks, why = _shared_lack(estimates)
    rows = tuple(Row(e, remark) for e, remark in zip(estimates, _joined(lacks, texts), strict=True))
    return EstimateTable(label, " ".join(filter(None, [*why, *common, legend])), rows)


def _joined(*texts: Sequence[str]) -> list[str]:
    """The texts of each row in one."""
    return [" ".join(filter(None, of_row)) for of_row in zip(*texts, strict=True)]


def _shared_lack(estimates: Sequence[Estimate], by: str = "") -> tuple[list[str], list[str]]:
    """Why each has no value or no interval; said once, as the second, where all of them lack the same."""
    lacks = [_lack(e, by) for e in estimates]
    if len(lacks) > 1 and lacks[0] and len(set(lacks)) == 1:
        return [""] * len(lacks), lacks[:1]
    return lacks, []


def _lack(estimate: Estimate, by: str) -> str:
    if estimate.reason:
        return f"No value{by}: {estimate.reason}."
    return f"No interval{by}: {estimate.interval_reason}." if estimate.interval_reason else ""


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
