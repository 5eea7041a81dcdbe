"""Matched pairs: does the interval of their ln T ratio lie within the margin of equivalence?"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from grok_sweeps.analysis.estimators.equivalence import ALPHA, L_APART, LEVEL_TOST, MARGIN, Pair
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import INK, MUTED, Drawing, blank_figure, entitle
from grok_sweeps.analysis.render.forest import PAPER, RUNS, SHADE, Forest, Row, point
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.cells import Cell

PAIRS = 20
"""Most pairs drawn, those of nearest L first; more would be unreadable."""
VERDICTS = {True: "equivalent", False: "not shown", None: "no test"}


def equivalence_plot(family: Family, name: str) -> Drawing:
    """Draw the ln T ratio of each matched pair in both conventions against the margin."""
    found = family.equivalence
    pairs = found.pairs[:PAIRS]
    named = [
        (f"{_cell(p.higher)} against {_cell(p.lower)} ({words})", p[key])
        for p in pairs
        for words, key in (("paper", "ln_ratio_medians"), ("runs", "ln_ratio"))
    ]
    omitted = len(found.pairs) - len(pairs)
    level = f"{LEVEL_TOST:.0%}"
    p_all = found.p_all
    caption = captions.joined(
        "ln of the ratio of grokked_step, higher ρ over lower, of two cells of different ρ whose mean L differs by at "
        f"most {L_APART:.0%}; nearest L first, each cell in one pair. Shaded: the margin ±ln 1.25 = ±{MARGIN:.3f}. "
        "Bar: the ratio that the remaining difference in L alone would give. Convention paper: medians; convention "
        f"runs: mean over seeds, paired, whiskers: {level} t interval. Equivalent: two one-sided paired t tests reject "
        f"at {ALPHA:g} (their p is given), as they do where that interval lies within the margin. Not shown is no "
        "proof of a difference.",
        captions.intervals([n for n in named if n[1].name == "ln_ratio_medians"], "Whiskers of medians"),
        f"{numbers.count(len(pairs), 'pair')} drawn; all {len(found.pairs)}: {captions.counts(p_all)}, p value of the "
        f"test that every pair is equivalent: {numbers.value(p_all)}{f' ({p_all.reason})' if p_all.reason else ''}.",
        f"Not drawn, to keep it readable: {numbers.count(omitted, 'pair')}." if omitted else "",
        captions.absences(named),
    )
    alt = "Forest plot of the ln T ratio of matched pairs. " + " ".join(
        f"{captions.spoken(named[2 * i : 2 * i + 2])}; {_verdict(pair)}." for i, pair in enumerate(pairs)
    )
    heading = "Matched L, different dose: is the grokking step the same?"
    return Drawing(name, heading, caption, alt, lambda: _paint(pairs, family.key.title))


def _cell(cell: Cell) -> str:
    return f"ρ {numbers.dose(cell.rho or 0.0)}, τ {cell.tau:g}"


def _verdict(pair: Pair) -> str:
    """The verdict with its p value, if there was a test."""
    p = pair["p_equivalence"].value
    verdict = VERDICTS[pair.equivalent]
    return verdict if p is None else f"{verdict}, p {f'= {p:.3f}' if p >= 0.001 else '< 0.001'}"


def _row(pair: Pair) -> Row:
    return Row(
        f"{_cell(pair.higher)}\nagainst {_cell(pair.lower)}",
        (point(pair["ln_ratio_medians"]), point(pair["ln_ratio"])),
        pair["ln_ratio_expected_from_logit_scale"].value,
        (_verdict(pair).replace(", ", "\n"), pair.equivalent is True),
    )


def _paint(pairs: tuple[Pair, ...], title: str) -> Figure:
    forest = Forest((PAPER, RUNS), tuple(_row(pair) for pair in pairs))
    figure = blank_figure(8.6, forest.inches + 0.6)
    axes = figure.add_subplot()
    forest.paint(axes, references=(0.0,), margin=MARGIN)
    axes.set(xlabel="ln T ratio, higher ρ over lower (ln step)")
    for at, words in ((-MARGIN, "÷ 1.25"), (MARGIN, "× 1.25")):
        axes.annotate(words, (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
                      ha="center", fontsize=8.5, color=MUTED)  # fmt: skip
    bar = Line2D([], [], color=INK, linestyle="none", marker="|", markersize=11, markeredgewidth=2.2)
    bar.set_label("what the difference in L gives")
    shade = Patch(color=SHADE, label="margin ± ln 1.25")
    figure.legend(handles=[*forest.handles, bar, shade], loc="outside lower left", ncols=4, columnspacing=1.4)
    entitle(figure, title)
    return figure
