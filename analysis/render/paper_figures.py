"""Which figure shows which of the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from grok_sweeps.analysis.claimed import in_setting
from grok_sweeps.analysis.claims import published
from grok_sweeps.analysis.comparisons import FORKS, LOSSES, MODULI, PRECISIONS
from grok_sweeps.analysis.render.canvas import Drawing
from grok_sweeps.analysis.render.drawings import of_cells, of_comparison, of_section
from grok_sweeps.analysis.result import Analysis, Family
from grok_sweeps.analysis.sections import compared_sections, family_sections

SECTION_OF = {
    "recovery": "mediation",
    "memorisation": "temperature_sweep",
    "collapse": "collapse",
    "law": "exponential_law",
    "allocation": "layer_allocation",
    "transformer": "transformer",
}
COMPARISON_OF = {
    LOSSES: "mediation",
    MODULI: "exponential_law",
    FORKS: "same_state",
    PRECISIONS: "softmax_collapse_audit",
}


def figures_of_tables(a: Analysis) -> Mapping[str, tuple[Drawing, ...]]:
    """The figures of an analysis by the paper's table that they show; others are in the report alone."""
    found: dict[str, list[Drawing]] = {}
    for table, drawing in _pairs(a):
        found.setdefault(table, []).append(drawing)
    return {table: tuple(drawings) for table, drawings in found.items()}


def drawable() -> frozenset[str]:
    """Tables that have a figure where their runs are there."""
    return frozenset(("collapse_grid", *SECTION_OF.values(), *COMPARISON_OF.values()))


def _pairs(a: Analysis) -> Iterator[tuple[str, Drawing]]:
    for family in a.families:
        printed = _printed_of(family)
        grid = next((table for table in ("collapse_grid", "temperature_sweep") if table in printed), None)
        if grid:
            yield from ((grid, drawing) for drawing in of_cells(family))
        for section in family_sections(family):
            table = SECTION_OF.get(section.name)
            if table in printed:
                yield from ((table, drawing) for drawing in of_section(family, section))
    for comparison, _ in compared_sections(a):
        table = COMPARISON_OF.get(comparison.kind)
        if table:
            yield from ((table, drawing) for drawing in of_comparison(a, comparison))


def _printed_of(family: Family) -> frozenset[str]:
    """Tables of the paper that have a number of such runs."""
    return frozenset(row.table for row in published() if in_setting(family, row, "float32"))
