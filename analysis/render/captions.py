"""Sentences of captions and alt texts: what rests on what, how an interval was made, what is absent and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.estimate import Estimate
from analysis.methods.convention import PAPER, RUNS
from analysis.render import numbers

Named = tuple[str, Estimate]
"""An estimate with the words for it."""

_INTERVAL = "Interval: "


def spoken(named: Iterable[Named]) -> str:
    """Every number with its interval: `ACME 0.923 [0.882, 0.947]; ADE none`."""
    return "; ".join(f"{name} {'none' if e.value is None else numbers.told(e)}" for name, e in named)


def counts(estimate: Estimate) -> str:
    """`6 cells, 72 runs`."""
    return f"{numbers.count(estimate.n_cells, 'cell')}, {numbers.count(estimate.n_runs, 'run')}"


def conventions(paper: Sequence[Estimate], runs: Sequence[Estimate]) -> str:
    """The counts of each convention that has a number."""
    known = ((name, next((e for e in of if e.value is not None), None)) for name, of in ((PAPER, paper), (RUNS, runs)))
    told = "; ".join(f"convention {name}: {counts(first)}" for name, first in known if first is not None)
    return f"{told[:1].upper()}{told[1:]}." if told else ""


def intervals(named: Sequence[Named], of: str = "") -> str:
    """How the intervals were made, and which numbers have none and why; `of` says which whiskers, where not all."""
    made: dict[tuple[float, str], dict[str, None]] = {}
    lacking: dict[str, list[str]] = {}
    for name, e in named:
        _, _, how = e.method.partition(_INTERVAL)
        if e.interval is not None and how:
            made.setdefault((e.level, how), {})[e.resampling] = None
        elif e.value is not None and e.interval_reason:
            lacking.setdefault(e.interval_reason, []).append(name)
    sentences = []
    for (level, how), drawn in made.items():
        resampled = " and ".join(text for text in drawn if text)
        sentences.append(
            f"Whiskers{f' of {of}' if of else ''}: {level:.0%} interval{f' ({resampled})' if resampled else ''}, "
            f"{how.rstrip('.')}."
        )
    if not made and len(lacking) == 1:
        return f"No interval: {next(iter(lacking))}."
    return joined(*sentences, f"No interval: {_grouped(lacking)}." if lacking else "")


def without_interval(method: str) -> str:
    """A method without its last sentences, those on the interval."""
    return method.partition(_INTERVAL)[0].strip()


def absences(named: Iterable[Named]) -> str:
    """What has no number, grouped by reason: `Absent: ACME, ADE: no run grokked.`, or empty."""
    by_reason: dict[str, list[str]] = {}
    for name, e in named:
        if e.value is None:
            by_reason.setdefault(e.reason, []).append(name)
    return f"Absent: {_grouped(by_reason)}." if by_reason else ""


def joined(*sentences: str) -> str:
    """The sentences that say something, one after the other."""
    return " ".join(s for s in sentences if s)


def _grouped(names: dict[str, list[str]]) -> str:
    return "; ".join(f"{', '.join(of)}: {reason}" for reason, of in names.items())
