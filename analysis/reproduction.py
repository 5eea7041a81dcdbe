"""The whole paper as one table: each printed number beside the released runs' and ours, or why ours is absent.

`claims.py` judges what the table of runs supports. Here every printed number has a row, table by table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from grok_sweeps.analysis.claims import (
    AGREES,
    DIFFERS,
    OTHER_CELLS,
    OTHER_NORM,
    SAME,
    UNDECIDED,
    Claim,
    Claims,
    Interval,
    Printed,
    published,
    verdict,
)
from grok_sweeps.analysis.released import Twins
from grok_sweeps.analysis.result import Analysis

UNFINISHED, NO_VALUE, NOT_RUN = "unfinished", "no value", "not run"
VERDICTS = (SAME, AGREES, DIFFERS, UNDECIDED, OTHER_CELLS, OTHER_NORM, UNFINISHED, NO_VALUE, NOT_RUN)
MEANINGS = (
    "unfinished: not judged, since runs that were asked for have no row yet; those that grok late are the last. "
    "no value: its runs are there, and give no estimate. not run: runs that it needs are not there; the reason stands "
    "beside it. L (logit_scale_at_grok) is the mean over seeds at the paper's logged step. The paper went on with a "
    "seed that had grokked before it; our runs end there and give their last reading."
)

TABLES: Mapping[str, str] = {
    "calibration": "Calibration",
    "mediation": "Mediation: the raised norm and what the temperature takes back",
    "temperature_sweep": "Temperature sweep",
    "collapse": "Collapse: ln T on the logit scale and the dose",
    "collapse_grid": "Collapse grid",
    "exponential_law": "Exponential law",
    "layer_allocation": "Layer allocation",
    "same_state": "Same state, different norm",
    "transformer": "Transformer without LayerNorm",
    "softmax_collapse_audit": "Softmax collapse audit",
}
"""Titles of the paper's tables, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Number:
    """A value with its interval."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Row:
    """One printed number. `released` and `ours` are None where there is none.

    `reason` says why ours is None, or what it lacks.
    """

    printed: Printed
    released: Number | None
    released_verdict: str
    ours: Number | None
    n_runs: int
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lack:
    """Why runs behind a printed number are not there: a sentence, and whether they were asked for."""

    reason: str
    asked: bool


@dataclass(frozen=True, slots=True)
class PartRuns:
    """What was asked of one part of the paper's runs; `reason` says why it was not trained."""

    name: str
    sweep: str
    n_runs: int
    n_there: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """All printed numbers, the runs behind ours, and the analysis that they are from."""

    title: str
    rows: tuple[Row, ...]
    parts: tuple[PartRuns, ...]
    analysis: Analysis
    twins: Twins | None = None

    def count(self, verdict: str) -> int:
        """Rows of one verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    def of_table(self, table: str) -> tuple[Row, ...]:
        """The rows of one of the paper's tables."""
        return tuple(row for row in self.rows if row.printed.table == table)


def reproduction(
    title: str,
    analysis: Analysis,
    parts: tuple[PartRuns, ...],
    lacking: Callable[[Printed], Lack | None],
    *,
    released: Claims | None = None,
    twins: Twins | None = None,
) -> Reproduction:
    """Set every printed number beside the released runs' and ours.

    Args:
        title: what was reproduced, in words.
        analysis: of our runs.
        parts: which runs were asked for, and how many are there.
        lacking: why some of the runs behind a printed number are not there; None where all are.
        released: the claims of an analysis of released runs; without it, what `published.csv` has of them.
        twins: our runs beside the released ones.
    """
    ours = {claim.printed: claim for claim in analysis.claims.rows}
    lacks = dict(analysis.claims.lacks)
    theirs = {claim.printed: claim for claim in released.rows} if released else {}
    order = {table: place for place, table in enumerate(TABLES)}
    rows = [
        _row(printed, theirs.get(printed), ours.get(printed), lacks.get(printed, ""), lacking(printed))
        for printed in sorted(published(), key=lambda printed: order.get(printed.table, len(order)))
    ]
    return Reproduction(title, tuple(rows), parts, analysis, twins)


def _row(printed: Printed, theirs: Claim | None, ours: Claim | None, why_absent: str, lack: Lack | None) -> Row:
    released = _released(printed, theirs)
    judged = verdict(printed, released.value, released.interval) if released else ""
    if ours is None or ours.ours.value is None:
        found, reason = (NOT_RUN, lack.reason) if lack else (NO_VALUE, why_absent or _why_none(printed))
        return Row(printed, released, judged, None, 0, found, reason)
    is_unfinished = lack is not None and lack.asked
    remarks = [lack.reason] if lack and (is_unfinished or ours.verdict == OTHER_CELLS) else []
    if ours.w_c is not None and printed.w_c is not None:
        remarks.append(f"w_c is {ours.w_c:.6g} here, {printed.w_c:.6g} in the paper")
    if ours.ours.interval is None and ours.ours.interval_reason:
        remarks.append(f"no interval: {ours.ours.interval_reason}")
    number = Number(ours.ours.value, ours.ours.interval)
    said = UNFINISHED if is_unfinished else ours.verdict
    return Row(printed, released, judged, number, ours.ours.n_runs, said, "; ".join(remarks))


def _released(printed: Printed, theirs: Claim | None) -> Number | None:
    if theirs is not None and theirs.ours.value is not None and theirs.verdict not in (OTHER_CELLS, OTHER_NORM):
        return Number(theirs.ours.value, theirs.ours.interval)
    return None if printed.recomputed is None else Number(printed.recomputed, printed.recomputed_interval)


def _why_none(printed: Printed) -> str:
    if printed.table == "calibration":
        return "an input here: the runs are held relative to it. The paper reads it when a block's slowest seed groks"
    return "no estimate of these runs answers it"
