"""The estimates as rich tables; the caller prints them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from grok_sweeps.analysis.claims import AGREES, DIFFERS, OTHER_CELLS, OTHER_NORM, SAME, UNDECIDED
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.render import cell_rows, numbers
from grok_sweeps.analysis.result import SOURCE, Analysis, Family
from grok_sweeps.analysis.section import Section
from grok_sweeps.analysis.sections import compared_sections, family_sections, missing_comparisons


def terminal_tables(a: Analysis) -> list[Table | Text]:
    """Counts of the sweep; cells and headline estimates of each family, of comparisons; the paper's numbers."""
    tables: list[Table | Text] = [_counts(a)]
    for family in a.families:
        tables.append(_cells(family))
        sections = family_sections(family)
        if not all(s.missing for s in sections):
            missing = [(s.title, s.missing) for s in sections if s.missing]
            tables.append(_headlines(f"Estimates, {family.key.title}", sections, missing))
    for comparison, section in compared_sections(a):
        tables.append(_headlines(f"{section.title}, {comparison.title}", [section], []))
    if a.claims.rows:
        tables.append(_claims(a))
    if a.families:
        tables.append(Text(_last_words(a)))
    return tables


def _counts(a: Analysis) -> Table:
    counts = a.counts
    table = Table(title=Text(f"Sweep {a.sweep}"), title_justify="left", caption_justify="left")
    for name in ("planned", "rows", "grokked", "censored", "diverged", "failed", "unused", "missing"):
        table.add_column(name, justify="right")
    planned, missing = (numbers.NONE if n is None else f"{n:,}" for n in (counts.n_planned, counts.n_missing))
    outcomes = (counts.n_grokked, counts.n_censored, counts.n_diverged, counts.n_failed, counts.n_unknown)
    table.add_row(planned, f"{counts.n_rows:,}", *(f"{n:,}" for n in outcomes), missing)
    if a.notes:
        table.caption = Text("\n".join(a.notes))
    return table


def _cells(family: Family) -> Table:
    table = Table(title=Text(f"Cells, {family.key.title}"), title_justify="left", caption_justify="left")
    for name in ("arm", "rho", "tau", "grokked step", "quartiles", "memorized", "delay", "L at grok", "grokked", "not"):
        table.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    for c in family.cells:
        missed = (
            (c.n_censored, "censored"),
            (c.n_diverged, "diverged"),
            (c.n_failed, "failed"),
            (cell_rows.n_unused(c), "unused"),
        )
        table.add_row(
            Text(c.arm_label),
            numbers.NONE if c.rho is None else f"{c.rho:g}",
            f"{c.tau:g}",
            numbers.value(c.grokked_step),
            cell_rows.quartiles(c),
            numbers.value(c.memorized_step),
            numbers.value(c.delay),
            numbers.value(c.logit_scale),
            f"{c.n_grokked}/{c.n_runs}",
            ", ".join(f"{n} {word}" for n, word in missed if n),
        )
    table.caption = Text(
        "medians over seeds; a run that did not grok, censored or diverged, counts as +infinity; failed and unused "
        "ones are not counted"
    )
    return table


def _headlines(title: str, sections: Sequence[Section], missing: Sequence[tuple[str, str]]) -> Table:
    table = Table(title=Text(title), title_justify="left", caption_justify="left")
    table.add_column("estimate")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("interval", justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("cells", justify="right")
    table.add_column("runs", justify="right")
    table.add_column("remark")
    for section in sections:
        if section.missing:
            continue
        for e in section.headlines:
            table.add_row(
                e.name, numbers.value(e), numbers.interval(e), e.unit, str(e.n_cells), str(e.n_runs), Text(_remark(e))
            )
        table.add_section()
    table.caption = Text(_not_supported(missing))
    return table


def _not_supported(missing: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"not supported, {title}: {why}" for title, why in missing)


def _claims(a: Analysis) -> Table:
    claims = a.claims
    table = Table(title=Text("The paper's numbers"), title_justify="left", caption_justify="left")
    for name in (SAME, AGREES, DIFFERS, UNDECIDED, OTHER_CELLS, OTHER_NORM):
        table.add_column(name, justify="right")
    table.add_row(*(str(claims.count(name)) for name in (SAME, AGREES, DIFFERS, UNDECIDED, OTHER_CELLS, OTHER_NORM)))
    return table


def _last_words(a: Analysis) -> str:
    told = f"{len(a.claims.rows)} of the {a.claims.n_printed} numbers that {SOURCE} prints have runs here"
    where = "; the report sets each beside ours" if a.claims.rows else ""
    return "\n".join((*_not_supported(missing_comparisons(a)).splitlines(), f"{told}{where}"))


def _remark(estimate: Estimate) -> str:
    return estimate.reason or (f"no interval: {estimate.interval_reason}" if estimate.interval_reason else "")
