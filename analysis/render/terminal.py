"""The estimates as rich tables; the caller prints them."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from analysis.estimate import Estimate
from analysis.render import numbers
from analysis.result import Analysis, Family


def terminal_tables(a: Analysis) -> list[Table]:
    """Counts of the sweep, then cells and estimates of each family."""
    tables = [_counts(a)]
    for family in a.families:
        tables += [_cells(family), _estimates(family, a)]
    return tables


def _counts(a: Analysis) -> Table:
    counts = a.counts
    table = Table(title=Text(f"Sweep {a.sweep}"), title_justify="left", caption_justify="left")
    for name in ("planned", "rows", "grokked", "censored", "diverged", "failed", "missing"):
        table.add_column(name, justify="right")
    planned, missing = (numbers.NONE if n is None else f"{n:,}" for n in (counts.n_planned, counts.n_missing))
    outcomes = (counts.n_grokked, counts.n_censored, counts.n_diverged, counts.n_failed)
    table.add_row(planned, f"{counts.n_rows:,}", *(f"{n:,}" for n in outcomes), missing)
    if a.notes:
        table.caption = Text("\n".join(a.notes))
    return table


def _cells(family: Family) -> Table:
    table = Table(title=Text(f"Cells, {family.key.title}"), title_justify="left", caption_justify="left")
    for name in ("arm", "rho", "tau", "grokked step", "quartiles", "memorized", "delay", "L at grok", "grokked", "not"):
        table.add_column(name, justify="left" if name == "arm" else "right", no_wrap=True)
    for c in family.cells:
        low, high = c.spread.lower_quartile, c.spread.upper_quartile
        missed = ((c.n_censored, "censored"), (c.n_diverged, "diverged"), (c.n_failed, "failed"))
        table.add_row(
            Text(c.arm_label),
            numbers.NONE if c.rho is None else f"{c.rho:g}",
            f"{c.tau:g}",
            numbers.value(c.grokked_step),
            numbers.NONE if low is None else f"{numbers.steps(low)} to {numbers.steps(high) if high else 'censored'}",
            numbers.value(c.memorized_step),
            numbers.value(c.delay),
            numbers.value(c.logit_scale),
            f"{c.n_grokked}/{c.n_runs}",
            ", ".join(f"{n} {word}" for n, word in missed if n),
        )
    table.caption = Text("medians over seeds; a censored run counts as +infinity, failed runs are not counted")
    return table


def _estimates(family: Family, a: Analysis) -> Table:
    table = Table(title=Text(f"Estimates, {family.key.title}"), title_justify="left", caption_justify="left")
    table.add_column("estimate")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("cells", justify="right")
    table.add_column("runs", justify="right")
    table.add_column("remark")
    for e in (*family.collapse.estimates, family.recovery):
        table.add_row(
            e.name, numbers.value(e), numbers.interval(e), e.unit, str(e.n_cells), str(e.n_runs), Text(_remark(e))
        )
    left_out = family.collapse.estimates[0].left_out
    table.caption = Text(
        f"percentile bootstrap over seeds, {a.resamples:,} resamples, seed {a.seed}"
        + (f"; collapse leaves out {numbers.count(len(left_out), 'cell')} (see the report)" if left_out else "")
    )
    return table


def _remark(estimate: Estimate) -> str:
    return estimate.reason or (f"no interval: {estimate.interval_reason}" if estimate.interval_reason else "")
