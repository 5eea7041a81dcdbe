"""Sentences of captions and alt texts: what rests on what, how an interval was made, what is absent and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.methods.convention import PAPER, RUNS
from grok_sweeps.analysis.render import numbers
from grok_sweeps.analysis.render.methods import INTERVAL, interval_sentence

Named = tuple[str, Estimate]
"""An estimate with the words for it."""


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


def intervals(named: Sequence[Named], what: str = "Whiskers") -> str:
    """How the intervals were made, and which numbers have none and why; `what` shows them.

    Where they were not all made alike, the most frequent way is told last, as that of all others.
    """
    made: dict[tuple[float, str], list[Named]] = {}
    lacking: dict[str, list[str]] = {}
    for name, e in named:
        how = interval_sentence(e)
        if e.interval is not None and how:
            made.setdefault((e.level, how), []).append((name, e))
        elif e.value is not None and e.interval_reason:
            lacking.setdefault(e.interval_reason, []).append(name)
    if not made and len(lacking) == 1:
        return f"No interval: {next(iter(lacking))}."
    ways = sorted(made, key=lambda way: len(made[way]))
    sentences = [_made(made[way], _whose(what, made[way], last=way == ways[-1], alone=len(ways) == 1)) for way in ways]
    return joined(*sentences, f"No interval: {_grouped(lacking)}." if lacking else "")


def _whose(what: str, of: Sequence[Named], *, last: bool, alone: bool) -> str:
    return what if alone else f"{what}, all others" if last else f"{what}, {', '.join(name for name, _ in of)}"


def _made(alike: Sequence[Named], whose: str) -> str:
    first = alike[0][1]
    resampled = " and ".join(dict.fromkeys(e.resampling for _, e in alike if e.resampling))
    drawn = f" ({resampled})" if resampled else ""
    return f"{whose}: {first.level:.0%} interval{drawn}, {interval_sentence(first).rstrip('.')}."


def kind(estimate: Estimate) -> str:
    """The bootstrap interval in a word or two, as the method has it: `percentile`, `plain percentile`, `BCa`."""
    words = interval_sentence(estimate).partition(" bootstrap")[0].removeprefix("as published: ")
    return words[words.index("(") + 1 : -1] if words.endswith(")") else words


def without_interval(method: str) -> str:
    """A method without its last sentences, those on the interval."""
    return method.partition(INTERVAL)[0].strip()


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
