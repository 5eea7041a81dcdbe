"""The paper's printed numbers beside ours: from its own released runs, and from the runs of the table at hand.

`published.csv` has every number that arXiv:2606.18465 prints and, where its released p = 59 runs determine it, what our
estimators make of those (`recomputed`; the tests hold the script). A verdict follows from one rule, `RULE`, that is the
same for every row. Rows whose cells are not in the table, or not in the paper's setting, are counted, not judged.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from grok_sweeps.analysis.claimed import Answer, Answers
from grok_sweeps.analysis.estimate import Estimate

if TYPE_CHECKING:
    from grok_sweeps.analysis.comparisons import Comparison
    from grok_sweeps.analysis.result import Family

Interval = tuple[float, float]

SAME, AGREES, DIFFERS, UNDECIDED = "same", "agrees", "differs", "undecided"
OTHER_CELLS, OTHER_NORM = "other cells", "other norm"
RULE = (
    "same: rounded as printed, ours is the paper's number. agrees: not the same, but the paper's number lies in our "
    "interval, or ours in the paper's. differs: an interval is known and neither lies in it. undecided: no interval is "
    "known. other cells: a fit over other cells than the paper's is not judged. other norm: nor are steps and L where "
    "w_c is more than 0.1 % from the paper's, and ratios and fits where it is more than 5 %. Intervals are of 95 %, so "
    "of twenty numbers that are the same in truth about one differs."
)


@dataclass(frozen=True, slots=True)
class Printed:
    """One number of the paper as `text`, its interval and seeds where printed, and `recomputed` from its own runs."""

    table: str
    p: int
    arch: str
    loss: str
    arm: str
    rho: float | None
    tau: float | None
    gamma: float | None
    w_c: float | None
    quantity: str
    text: str
    interval: Interval | None
    n: int | None
    recomputed: float | None
    recomputed_interval: Interval | None

    @property
    def value(self) -> float:
        """The printed number."""
        return float(self.text)

    @property
    def label(self) -> str:
        """Where it is printed: modulus, network and loss, and the cell if it is of one."""
        names = (("rho", self.rho), ("tau", self.tau), ("gamma", self.gamma))
        cell = [self.arm, *(f"{name} {value:g}" for name, value in names if value is not None)]
        return ", ".join(filter(None, (f"p {self.p}", self.arch if self.arch != "mlp" else "", self.loss, *cell)))


@dataclass(frozen=True, slots=True)
class Claim:
    """A printed number, our estimate of it from the table, and a verdict on each of ours.

    `w_c` is what the doses of our runs are relative to, where it is not the paper's.
    """

    printed: Printed
    ours: Estimate
    verdict_on_its_runs: str
    verdict: str
    w_c: float | None


@dataclass(frozen=True, slots=True)
class Claims:
    """Printed numbers that the table has runs for; `n_printed` are all that the paper prints.

    `lacks` says why an estimate that would answer a printed number has no value, where the table has such runs.
    """

    rows: tuple[Claim, ...]
    n_printed: int
    rule: str = RULE
    lacks: tuple[tuple[Printed, str], ...] = ()

    def count(self, verdict: str) -> int:
        """Rows of one verdict on our own runs."""
        return sum(c.verdict == verdict for c in self.rows)


def check_claims(families: Sequence[Family], comparisons: Sequence[Comparison], *, resamples: int, seed: int) -> Claims:
    """Judge each printed number for which the table has the runs (arXiv:2606.18465)."""
    answers = Answers(families, comparisons, resamples=resamples, seed=seed)
    rows, lacks = [], []
    for printed in published():
        found = answers.find(printed)
        if isinstance(found, Answer):
            rows.append(_claim(printed, found))
        elif found:
            lacks.append((printed, found))
    return Claims(tuple(rows), len(published()), lacks=tuple(lacks))


def _claim(printed: Printed, found: Answer) -> Claim:
    ours = found.estimate
    said = verdict(printed, ours.value, ours.interval)
    return Claim(
        printed,
        ours,
        verdict(printed, printed.recomputed, printed.recomputed_interval),
        OTHER_CELLS if found.other_cells else OTHER_NORM if found.other_norm else said,
        found.w_c,
    )


def verdict(printed: Printed, value: float | None, interval: Interval | None) -> str:
    """SAME, AGREES, DIFFERS or UNDECIDED by RULE; empty where there is no value."""
    if value is None:
        return ""
    if abs(value - printed.value) <= 0.5 * 10.0 ** -len(printed.text.partition(".")[2]) + 1e-6:
        return SAME
    within = [_lies(printed.value, interval), _lies(value, printed.interval)]
    known = [w for w in within if w is not None]
    return UNDECIDED if not known else AGREES if any(known) else DIFFERS


@cache
def published() -> tuple[Printed, ...]:
    """All printed numbers, in the order of the paper's tables."""
    with (files("analysis") / "published.csv").open() as file:
        return tuple(_printed(row) for row in csv.DictReader(file))


def _printed(row: dict[str, str]) -> Printed:
    return Printed(
        table=row["table"],
        p=int(row["p"]),
        arch=row["arch"],
        loss=row["loss"],
        arm=row["arm"],
        rho=_number(row["rho"]),
        tau=_number(row["tau"]),
        gamma=_number(row["gamma"]),
        w_c=_number(row["w_c"]),
        quantity=row["quantity"],
        text=row["value"],
        interval=_interval(row["lo"], row["hi"]),
        n=int(row["n"]) if row["n"] else None,
        recomputed=_number(row["recomputed"]),
        recomputed_interval=_interval(row["recomputed_lo"], row["recomputed_hi"]),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def _interval(low: str, high: str) -> Interval | None:
    return (float(low), float(high)) if low else None


def _lies(value: float, interval: Interval | None) -> bool | None:
    return None if interval is None else interval[0] <= value <= interval[1]
