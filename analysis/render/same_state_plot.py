"""Same state, different norm: the delay from the fork by arm, and the ratios of the delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from grok_sweeps.analysis.comparisons import Comparison
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.methods.medians import ALL_RUNS
from grok_sweeps.analysis.render import captions
from grok_sweeps.analysis.render.canvas import Drawing, blank_figure, entitle
from grok_sweeps.analysis.render.forest import FIRST, SECOND, THIRD, Forest, Row, Series, panels, point
from grok_sweeps.analysis.result import Family

Kinds = tuple[tuple[Series, str], ...]
"""A series and what ends the names of its estimates."""

ARMS = {
    "delay_from_fork_raised": "raised\n(1.15 N₀)",
    "delay_from_fork_same": "same\n(N₀)",
    "delay_from_fork_free": "free",
    "delay_from_fork_lowered": "lowered\n(N₀ / 1.15)",
}
RATIOS = {
    "raised_over_same": "raised / same",
    "same_over_lowered": "same / lowered",
    "same_over_free": "same / free",
    "raised_over_free": "raised / free",
}
_NEVER = "not grokked as +∞"
_DELAYS: Kinds = ((FIRST.named("runs that grokked"), ""), (THIRD.named(_NEVER), ALL_RUNS))


def same_state_plot(comparison: Comparison, families: Sequence[Family], name: str) -> Drawing:  # noqa: ARG001
    """Draw the median delay of each arm and the paired ratios; with the runs that did not grok where they matter."""
    found = {e.name: e for e in comparison.estimates}
    delays, ratios = _told(found, ARMS, _DELAYS), _told(found, RATIOS, _ratio_kinds(found))
    of_delays, of_ratios = _named(found, ARMS, delays), _named(found, RATIOS, ratios)
    named = [*of_delays, *of_ratios]
    with_all = any(series.marker == THIRD.marker for series, _ in (*delays, *ratios))
    caption = captions.joined(
        "Left: median delay from the fork (grokked_step − fork_step) of each arm; N₀ is the run's own norm at the "
        "fork. Right: ratios of these medians, paired over seeds: the arms of a seed share weights, moments and step "
        "at the fork. Dotted: no effect.",
        "Diamonds: a run that did not grok within its budget counts as +∞; elsewhere it is left out, as published."
        if with_all
        else "",
        "; ".join(f"{_word(key)}: {captions.counts(found[key])}" for key in ARMS if key in found) + ".",
        captions.intervals(of_delays, "Whiskers of delays"),
        captions.intervals(of_ratios, "Whiskers of ratios"),
        captions.absences(named),
    )
    alt = f"Two forest plots, median delay from the fork in steps and ratios of delays: {captions.spoken(named)}."
    heading = "Same state, different norm: delay from the fork"
    return Drawing(name, heading, caption, alt, lambda: _paint(comparison, found, delays, ratios))


def _word(arm: str) -> str:
    return ARMS[arm].partition("\n")[0]


def _ratio_kinds(found: Mapping[str, Estimate]) -> Kinds:
    """The kinds of ratios, named for how their intervals are made: a kind may have intervals of more than one."""

    def made(suffix: str) -> str:
        told = (captions.kind(found[f"{key}{suffix}"]) for key in RATIOS if f"{key}{suffix}" in found)
        return " / ".join(dict.fromkeys(filter(None, told))) or "ratio"

    return (
        (FIRST.named(made("")), ""),
        (SECOND.named(made("_bca")), "_bca"),
        (THIRD.named(f"{made(ALL_RUNS)}, {_NEVER}"), ALL_RUNS),
    )


def _named(found: Mapping[str, Estimate], rows: Mapping[str, str], kinds: Kinds) -> list[captions.Named]:
    return [
        (f"{' '.join(words.split())}{'' if series is kinds[0][0] else f' ({series.name})'}", found[f"{key}{suffix}"])
        for key, words in rows.items()
        if key in found
        for series, suffix in kinds
    ]


def _told(found: Mapping[str, Estimate], names: Mapping[str, str], kinds: Kinds) -> Kinds:
    """The kinds without that of all runs where it gives no other number."""
    there = [n for n in names if n in found]
    differs = any(found[n].value != found[f"{n}{ALL_RUNS}"].value for n in there)
    return tuple(kind for kind in kinds if differs or kind[1] != ALL_RUNS)


def _forest(found: Mapping[str, Estimate], names: Mapping[str, str], kinds: Kinds) -> Forest:
    rows = (
        Row(words, tuple(point(found[f"{key}{suffix}"]) for _, suffix in kinds))
        for key, words in names.items()
        if key in found
    )
    return Forest(tuple(series for series, _ in kinds), tuple(rows))


def _paint(comparison: Comparison, found: Mapping[str, Estimate], delays: Kinds, ratios: Kinds) -> Figure:
    left, right = _forest(found, ARMS, delays), _forest(found, RATIOS, ratios)
    figure = blank_figure(10.0, max(left.inches, right.inches) + 0.6)
    by_arm, by_ratio = panels(figure, 1, 2)
    left.paint(by_arm, log=True)
    right.paint(by_ratio, log=True, references=(1.0,))
    by_arm.set(xlabel="median delay from the fork (steps, log)", title="Delay")
    by_ratio.set(xlabel="ratio of median delays (log)", title="Ratio")
    figure.legend(handles=left.handles, loc="outside lower left", ncols=2)
    figure.legend(handles=right.handles, loc="outside lower right", ncols=3)
    entitle(figure, comparison.title)
    return figure
