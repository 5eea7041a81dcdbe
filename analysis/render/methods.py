"""What the methods of several estimates have in common is said once, above their table.

A method is sentences; estimates of one table share most of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from string import ascii_lowercase

from grok_sweeps.analysis.estimate import Estimate

WORTH_A_LETTER = 40
"""Characters from which a sentence that several rows say is told once."""

INTERVAL = "Interval: "
"""Begins the sentence of a method on its interval."""

_OF_INTERVAL = (INTERVAL, "Level ", "Resampling: ")
_BETWEEN = re.compile(r"(?<=[.;])\s+(?=[A-ZΑ-Ω(])")


def sentences(text: str) -> list[str]:
    """The sentences of a method."""
    return [part for part in _BETWEEN.split(text) if part]


def interval_sentence(estimate: Estimate) -> str:
    """How the interval is made, as the method says it (`t over seeds.`); empty where it says nothing of it."""
    told = (s.removeprefix(INTERVAL) for s in sentences(estimate.method) if s.startswith(INTERVAL))
    return next(told, "")


def shared_sentences(estimates: Sequence[Estimate]) -> tuple[list[str], list[list[str]]]:
    """The sentences that hold for all of them, of method, level and resampling, and those that each says beside.

    What is said of an interval need hold only for those that have one.
    """
    told = [sentences(_whole(e)) for e in estimates]
    ranged = [own for e, own in zip(estimates, told, strict=True) if e.interval] or told
    first = ranged[0] if ranged else []
    common = [s for s in first if all(s in own for own in (ranged if s.startswith(_OF_INTERVAL) else told))]
    return common, [[s for s in own if s not in common] for own in told]


def of_interval(own: Sequence[str]) -> list[str]:
    """Those of the sentences that are on the interval, its level or its resampling."""
    return [s for s in own if s.startswith(_OF_INTERVAL)]


def with_letters(own: Sequence[Sequence[str]]) -> tuple[str, list[str]]:
    """A legend of the long sentences that several rows say, `[a] …`, and each row's text, which refers to it."""
    counts = Counter(s for each in own for s in each)
    repeated = [s for s in counts if counts[s] > 1 and len(s) > WORTH_A_LETTER]
    letters = {s: f"[{letter}]" for s, letter in zip(repeated, ascii_lowercase, strict=False)}
    legend = " ".join(f"{letter} {s}" for s, letter in letters.items())
    return legend, [" ".join(letters.get(s, s) for s in each) for each in own]


def _whole(estimate: Estimate) -> str:
    level = f" Level {100 * estimate.level:g} %." if estimate.interval else ""
    drawn = f" Resampling: {estimate.resampling}." if estimate.resampling else ""
    return f"{_ended(estimate.method)}{level}{drawn}"


def _ended(text: str) -> str:
    return text if not text or text.endswith((".", ")")) else f"{text}."
