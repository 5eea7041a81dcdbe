"""Sentences of captions and alt texts: what rests on what, how an interval was made, what is absent and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.estimate import Estimate
from analysis.render import numbers

Named = tuple[str, Estimate]
"""An estimate with the words for it."""


def spoken(named: Iterable[Named]) -> str:
    """Every number with its interval: `ACME 0.923 [0.882, 0.947]; ADE none`."""
    return "; ".join(
        f"{name} {'none' if e.value is None else numbers.value(e)}{f' {numbers.interval(e)}' if e.interval else ''}"
        for name, e in named
    )


def counts(estimate: Estimate) -> str:
    """`6 cells, 72 runs`."""
    return f"{numbers.count(estimate.n_cells, 'cell')}, {numbers.count(estimate.n_runs, 'run')}"


def intervals(estimates: Sequence[Estimate]) -> str:
    """How their intervals were made, and why those with a value but no interval have none."""
    made: dict[str, None] = {}
    for e in estimates:
        if e.interval is not None:
            _, _, how = e.method.partition("Interval: ")
            drawn = f" {e.resampling[0].upper()}{e.resampling[1:]}." if e.resampling else ""
            made[f"Whiskers: {e.level:.0%} interval, {how.rstrip('.')}.{drawn}"] = None
    lacking = {
        f"No interval: {e.interval_reason}.": None for e in estimates if e.value is not None and e.interval_reason
    }
    return " ".join((*made, *lacking))


def absences(named: Sequence[Named]) -> str:
    """What has no number, grouped by reason: `Absent: ACME, ADE (no run grokked).`, or empty."""
    by_reason: dict[str, list[str]] = {}
    for name, e in named:
        if e.value is None:
            by_reason.setdefault(e.reason, []).append(name)
    told = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
    return f"Absent: {told}." if told else ""


def joined(*sentences: str) -> str:
    """The sentences that say something, one after the other."""
    return " ".join(s for s in sentences if s)
