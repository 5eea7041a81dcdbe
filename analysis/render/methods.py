"""What the methods of several estimates have in common is said once, above their table.

A method is sentences; estimates of one table share most of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from analysis.estimate import Estimate

_BETWEEN = re.compile(r"(?<=[.;])\s+(?=[A-ZΑ-Ω(])")


def sentences(text: str) -> list[str]:
    """The sentences of a method."""
    return [part for part in _BETWEEN.split(text) if part]


def shared_method(estimates: Sequence[Estimate]) -> tuple[str, list[str]]:
    """What all of them say of their method, with the resampling and the level, and what each says beside it."""
    told = [sentences(_whole(e)) for e in estimates]
    # An estimate without a value has no resampling to tell of.
    common = [s for s in _longest(estimates, told) if all(s in own or _is_resampling(s) for own in told)]
    return " ".join(common), [" ".join(s for s in own if s not in common) for own in told]


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
