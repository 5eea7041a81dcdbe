"""Competing mediators: what share of R² falls to each reading, and what each is worth once the other is known."""

from __future__ import annotations

from matplotlib.figure import Figure

from grok_sweeps.analysis.estimators.mediators import SCALE, MediatorFit, Mediators
from grok_sweeps.analysis.render import captions
from grok_sweeps.analysis.render.canvas import Drawing, blank_figure, entitle
from grok_sweeps.analysis.render.forest import FIRST, PAPER, RUNS, SECOND, Forest, Row, panels, point
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.cells import RIVALS

WORDS = {
    SCALE: "logit scale L",
    "grad_norm": "gradient norm",
    "update_norm": "update norm",
    "turn_angle": "turn angle",
    "preactivation_rms": "pre-activation\nRMS",
}
_OF_SCALE = FIRST.named("L given the rival")
_OF_RIVAL = SECOND.named("the rival given L")


def mediators_plot(family: Family, name: str) -> Drawing:
    """Draw the LMG shares in both conventions, and the pairs of partial R² of one."""
    fitted = family.mediators
    fit = fitted.runs if any(e.value is not None for e in fitted.runs.estimates) else fitted.paper
    shares = [
        (f"{_word(reading)} ({one.convention})", one[f"lmg_share_{reading}"])
        for one in (fitted.paper, fitted.runs)
        for reading in (SCALE, *RIVALS)
    ]
    partial = [
        (words, fit[key])
        for rival in RIVALS
        for words, key in (
            (f"L given {_word(rival)}", _scale_given(rival)),
            (f"{_word(rival)} given L", _rival_given(rival)),
        )
    ]
    whole = [(f"R² of all ({one.convention})", one["r2_all"]) for one in (fitted.paper, fitted.runs)]
    caption = captions.joined(
        "Left: share of each reading in the R² of ln T on the logarithms of all of them (Shapley, LMG: mean over all "
        f"orders of entry); {captions.spoken(whole)}. Right, convention {fit.convention}: partial R² of L given one "
        "rival, and of that rival given L; 0 is nothing added.",
        captions.conventions(fitted.paper.estimates, fitted.runs.estimates),
        captions.intervals(shares, "Whiskers of shares"),
        captions.intervals(partial, "Whiskers of partial R²"),
        captions.absences([*shares, *partial]),
        "All are read at the grokking step, so all are endogenous as L is; a share is a description.",
    )
    alt = (
        f"Two panels. Left, share of R²: {captions.spoken(shares)}. Right, partial R², convention {fit.convention}: "
        f"{captions.spoken(partial)}."
    )
    heading = "Competing mediators: the logit scale against its rivals"
    return Drawing(name, heading, caption, alt, lambda: _paint(fitted, fit, family.key.title))


def _scale_given(rival: str) -> str:
    return f"partial_r2_{SCALE}_given_{rival}"


def _rival_given(rival: str) -> str:
    return f"partial_r2_{rival}_given_{SCALE}"


def _word(reading: str) -> str:
    return WORDS[reading].replace("\n", " ")


def _paint(fitted: Mediators, fit: MediatorFit, title: str) -> Figure:
    def shares(reading: str) -> Row:
        key = f"lmg_share_{reading}"
        return Row(WORDS[reading], (point(fitted.paper[key]), point(fitted.runs[key])))

    left = Forest((PAPER, RUNS), tuple(shares(reading) for reading in (SCALE, *RIVALS)))
    right = Forest(
        (_OF_SCALE, _OF_RIVAL),
        tuple(Row(WORDS[r], (point(fit[_scale_given(r)]), point(fit[_rival_given(r)]))) for r in RIVALS),
    )
    figure = blank_figure(10.0, max(left.inches, right.inches) + 0.6)
    of_shares, of_partial = panels(figure, 1, 2)
    left.paint(of_shares, references=(0.0,))
    right.paint(of_partial, references=(0.0,))
    of_shares.set(xlabel="share of R² (LMG)", title="Share of the whole")
    of_partial.set(xlabel="partial R² in ln T", title=f"Each given the other (convention {fit.convention})")
    figure.legend(handles=left.handles, loc="outside lower left", ncols=2)
    figure.legend(handles=right.handles, loc="outside lower right", ncols=2)
    entitle(figure, title)
    return figure
