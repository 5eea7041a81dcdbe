"""How numbers are written for people: the same in the terminal, the report and the figures."""

from __future__ import annotations

from grok_sweeps.analysis.estimate import Estimate

NONE = "–"


def steps(value: float | None) -> str:
    """Steps with separators, `12,600` or `2,087.5`."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def plain(value: float | None) -> str:
    """Three decimals, or four significant digits from 100 on and two below a thousandth."""
    if value is None:
        return NONE
    if 1e-12 < abs(value) < 1e-3:
        return f"{value:.2g}"
    return f"{value:z.3f}" if abs(value) < 100 else f"{value:.4g}"


def value(estimate: Estimate) -> str:
    """The value of an estimate in the way of its unit."""
    return steps(estimate.value) if estimate.unit == "step" else plain(estimate.value)


def dose(value: float) -> str:
    """Two decimals, `1.10`, or as many as it needs."""
    return f"{value:.2f}" if abs(value - round(value, 2)) < 1e-9 else f"{value:g}"


def interval(estimate: Estimate) -> str:
    """`[0.817, 0.852]`, or a dash."""
    if estimate.interval is None:
        return NONE
    write = steps if estimate.unit == "step" else plain
    return "[{}, {}]".format(*(write(v) for v in estimate.interval))


def told(estimate: Estimate) -> str:
    """Value and interval, `0.833 [0.819, 0.852]`, or the value alone, or a dash."""
    return value(estimate) if estimate.interval is None else f"{value(estimate)} {interval(estimate)}"


def count(number: int, noun: str) -> str:
    """`1 run`, `1,200 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def digits(value: float | None) -> str:
    """At most five significant digits, `12,600` or `0.8329`, to be set beside a printed number."""
    if value is None:
        return NONE
    return f"{value:,.5g}" if abs(value) < 1e5 else f"{value:,.0f}"


def between(ends: tuple[float, float] | None) -> str:
    """An interval in the same way."""
    return NONE if ends is None else "[{}, {}]".format(*(digits(end) for end in ends))
