"""Matched pairs: does the interval of their ln T ratio lie within the margin of equivalence?"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.cells import Cell
from analysis.equivalence import ALPHA, L_APART, MARGIN, Equivalence, Pair
from analysis.render import captions, numbers
from analysis.render.canvas import MUTED, Drawing, blank_figure
from analysis.render.forest import PAPER, RUNS, Forest, Row, entitle, point
from analysis.result import Family

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
        for words, key in (("medians", "ln_ratio_medians"), ("paired runs", "ln_ratio"))
    ]
    omitted = len(found.pairs) - len(pairs)
    level = pairs[0]["ln_ratio"].level if pairs else 0.0
    caption = captions.joined(
        "ln of the ratio of grokked_step, higher ρ over lower, of cells of different ρ whose mean L differs by at most "
        f"{L_APART:.0%}, nearest first, each cell in one pair. Shaded: the margin ±ln 1.25 = ±{MARGIN:.3f}. Vertical "
        "bar: the ratio that the remaining difference in L alone would give. Verdict: equivalent where two one-sided "
        f"paired t tests reject at {ALPHA:g}, which is where the {level:.0%} interval of convention runs lies within the "
        "margin; not shown is no proof of a difference.",
        f"Convention runs: mean over seeds, paired; whiskers: {level:.0%} t interval. Convention paper: medians.",
        captions.intervals([p["ln_ratio_medians"] for p in pairs]),
        f"{numbers.count(len(pairs), 'pair')}, {captions.counts(found.p_all)}; p that all pairs are equivalent: "
        f"{captions.spoken([('p', found.p_all)])[2:]}.",
        f"{numbers.count(omitted, 'pair')} not drawn, to keep it readable." if omitted else "",
        captions.absences(named),
    )
    alt = "Forest plot of ln T ratio of matched pairs: " + "; ".join(
        f"{captions.spoken(named[2 * i : 2 * i + 2])}: {VERDICTS[p.equivalent]}" for i, p in enumerate(pairs)
    )
    heading = "Matched L, different dose: is the grokking step the same?"
    return Drawing(name, heading, caption, alt, lambda: _paint(found, pairs, family.key.title))


def _cell(cell: Cell) -> str:
    return f"ρ {numbers.dose(cell.rho or 0.0)}, τ {cell.tau:g}"


def _row(pair: Pair) -> Row:
    verdict = VERDICTS[pair.equivalent]
    p = pair["p_equivalence"].value
    return Row(
        f"{_cell(pair.higher)}\nagainst {_cell(pair.lower)}",
        (point(pair["ln_ratio_medians"]), point(pair["ln_ratio"])),
        pair["ln_ratio_expected_from_logit_scale"].value,
        (
            verdict if p is None else f"{verdict}\np = {p:.3f}" if p >= 0.001 else f"{verdict}\np < 0.001",
            pair.equivalent is True,
        ),
    )


def _paint(found: Equivalence, pairs: tuple[Pair, ...], title: str) -> Figure:
    forest = Forest((PAPER, RUNS), tuple(_row(p) for p in pairs))
    figure = blank_figure(8.6, forest.inches + 0.6)
    axes = figure.add_subplot()
    forest.paint(axes, references=(0.0,), margin=MARGIN)
    axes.set(xlabel="ln T ratio, higher ρ over lower (ln step)")
    for at, words in ((-MARGIN, "÷ 1.25"), (MARGIN, "× 1.25")):
        axes.annotate(words, (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
                      ha="center", fontsize=8.5, color=MUTED)  # fmt: skip
    figure.legend(handles=forest.handles, loc="outside lower left", ncols=2)
    entitle(figure, title, 95)
    return figure
