"""A cell as a row of a table: where its runs lie, which of them never grokked, and what is to be said of it."""

from __future__ import annotations

from grok_sweeps.analysis.render import numbers
from grok_sweeps.analysis.table.cells import Cell


def never(cell: Cell) -> str:
    """What the counted runs are that did not grok: `censored`, `diverged`, `censored or diverged`, or empty."""
    return " or ".join(word for n, word in ((cell.n_censored, "censored"), (cell.n_diverged, "diverged")) if n)


def quartiles(cell: Cell) -> str:
    """`1,200 to 3,400`; an end that is no step is what the runs are that stand there."""
    return _between(cell, cell.spread.lower_quartile, cell.spread.upper_quartile)


def extent(cell: Cell) -> str:
    """The same from the first run to the last."""
    return _between(cell, cell.spread.minimum, cell.spread.maximum)


def n_unused(cell: Cell) -> int:
    """Rows of the cell that no estimate uses, their outcome being unknown or contradictory."""
    return cell.n_runs - cell.n_counted - cell.n_failed


def remarks(cell: Cell) -> str:
    """Why it is not used, what has no value or no interval and why, and what was left out."""
    said = [f"Not used in figures and fits: {cell.superseded}."] if cell.superseded else []
    shown = (cell.grokked_step, cell.memorized_step, cell.delay, cell.logit_scale)
    lacking: dict[str, list[str]] = {}
    for e in shown:
        if e.reason or e.interval_reason:
            lacking.setdefault(e.reason or f"no interval, {e.interval_reason}", []).append(e.name)
    said += [f"{', '.join(names)}: {reason}." for reason, names in lacking.items()]
    left_out = dict.fromkeys(why for e in shown for why in e.left_out)
    if left_out:
        said.append(f"Left out: {'; '.join(left_out)}.")
    return " ".join(said)


def _between(cell: Cell, low: float | None, high: float | None) -> str:
    if low is None:
        return never(cell) or numbers.NONE
    return f"{numbers.steps(low)} to {never(cell) if high is None else numbers.steps(high)}"
