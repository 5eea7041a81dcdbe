"""All estimates in whatever an analysis gives: for tests of what none of them may do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from itertools import chain

import pandas as pd

from grok_sweeps.analysis.estimate import Estimate


def estimates_in(result: object) -> Iterator[Estimate]:
    """Every estimate, however deep in dataclasses and sequences."""
    if isinstance(result, Estimate):
        yield result
    elif is_dataclass(result):
        yield from chain.from_iterable(estimates_in(getattr(result, f.name)) for f in fields(result))
    elif isinstance(result, Iterable) and not isinstance(result, str | pd.DataFrame):
        yield from chain.from_iterable(map(estimates_in, result))
