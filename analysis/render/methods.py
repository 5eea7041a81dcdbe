"""What the methods of several estimates have in common is said once, above their table.

A method is sentences; estimates of one table share most of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from string import ascii_lowercase

from analysis.estimate import Estimate

WORTH_A_LETTER = 40
"""Characters from which a sentence that several rows say is told once."""

_BETWEEN = re.compile(r"(?<=[.;])\s+(?=[A-ZΑ-Ω(])")


def sentences(text: str) -> list[str]:
    """The sentences of a method."""
    return [part for part in _BETWEEN.split(text) if part]


def shared_sentences(estimates: Sequence[Estimate]) -> tuple[list[str], list[list[str]]]:
    """The sentences that all of them say of their method, resampling and level too, and those that each says beside."""
    told = [sentences(_whole(e)) for e in estimates]
    # An estimate without a value has no resampling to tell of.
    common = [s for s in _longest(estimates, told) if all(s in own or _is_resampling(s) for own in told)]
    return common, [[s for s in own if s not in common] for own in told]


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


def _longest(estimates: Sequence[Estimate], told: Sequence[list[str]]) -> list[str]:
    """Sentences of the first estimate that has an interval, else of the first."""
    places = [i for i, e in enumerate(estimates) if e.interval]
    if not told:
        return []
    first = places[0] if places else 0
    drawn = {e.resampling for e in estimates if e.resampling}
    return [s for s in told[first] if not _is_resampling(s) or len(drawn) == 1]


def _is_resampling(sentence: str) -> bool:
    return sentence.startswith(("Resampling: ", "Level "))


def _ended(text: str) -> str:
    return text if not text or text.endswith((".", ")")) else f"{text}."
