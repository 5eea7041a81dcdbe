"""Writes what our estimators make of the paper's released runs into analysis/published.csv.

`python -m tests.analysis.recompute`, where the folder with the released p = 59 runs lies beside the repository. A row
is left empty where those runs do not determine it: another modulus, the collapse fits (eight of their twelve cells are
not released), and the float64 audit, whose runs are others than those of the dose sweep.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from grok_sweeps.analysis import Analysis, analyze
from grok_sweeps.analysis.claims import OTHER_CELLS, OTHER_NORM, Claim
from tests.analysis import reference

FILE = Path(__file__).parents[2] / "analysis" / "published.csv"
NOT_RELEASED = ("softmax_collapse_audit",)
DIGITS = 6


@cache
def released() -> Analysis:
    """The analysis of all released runs together."""
    runs, curves = reference.everything()
    return analyze(runs, curves, sweep=list(runs["sweep"].unique()))


def determined() -> dict[tuple[str, ...], Claim]:
    """The printed numbers that the released runs determine, by their key."""
    claims = released().claims.rows
    kept = (c for c in claims if c.printed.table not in NOT_RELEASED and c.verdict not in (OTHER_CELLS, OTHER_NORM))
    return {key_of(_as_row(c)): c for c in kept}


def key_of(row: dict[str, str]) -> tuple[str, ...]:
    """What tells one printed number from all others."""
    return tuple(row[name] for name in ("table", "p", "arch", "loss", "arm", "rho", "tau", "gamma", "quantity"))


def recomputed() -> list[dict[str, str]]:
    """The rows of the file with their last three columns computed anew."""
    with FILE.open() as file:
        rows = list(csv.DictReader(file))
    found = determined()
    for row in rows:
        claim = found.get(key_of(normal(row)))
        ours = None if claim is None else claim.ours
        ends = ours.interval if ours is not None and ours.interval is not None else ("", "")
        row["recomputed"] = _text("" if ours is None else ours.value)
        row["recomputed_lo"], row["recomputed_hi"] = map(_text, ends)
    return rows


def main() -> None:
    """Write the file."""
    rows = recomputed()
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{sum(bool(r['recomputed']) for r in rows)} of {len(rows)} printed numbers recomputed")


def _as_row(claim: Claim) -> dict[str, str]:
    printed = claim.printed
    names = ("table", "p", "arch", "loss", "arm", "rho", "tau", "gamma", "quantity")
    return normal({n: "" if getattr(printed, n) is None else str(getattr(printed, n)) for n in names})


def normal(row: dict[str, str]) -> dict[str, str]:
    """The same with numbers written in one way."""
    return {**row, **{n: str(float(row[n])) if row[n] else "" for n in ("rho", "tau", "gamma")}}


def _text(value: float | str | None) -> str:
    return "" if value in ("", None) else f"{float(value):.{DIGITS}g}"


if __name__ == "__main__":
    main()
