"""The sections of an analysis, in the order in which they are read: the words that go with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grok_sweeps.analysis.comparisons import FORKS, LOSSES, MODULI, PRECISIONS, Comparison
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators import collapse, mediation
from grok_sweeps.analysis.estimators.equivalence import Equivalence
from grok_sweeps.analysis.estimators.law import Law
from grok_sweeps.analysis.estimators.mediation import Mediation
from grok_sweeps.analysis.estimators.mediators import SCALE, Mediators
from grok_sweeps.analysis.estimators.survival import Survival
from grok_sweeps.analysis.methods.convention import InBoth
from grok_sweeps.analysis.result import Analysis, Family
from grok_sweeps.analysis.section import Compared, Group, Section
from grok_sweeps.analysis.table.cells import RIVALS


def family_sections(family: Family) -> tuple[Section, ...]:
    """Every analysis within one family, also those that its table does not support."""
    return (
        _collapse(family.collapse),
        Section(
            "recovery",
            "Recovery fraction",
            "How much of the slow-down of a raised norm disappears when the temperature takes the logit scale back to "
            "the baseline's? 1 is all of it, 0 none.",
            ("recovery_fraction", "recovery_fraction_runs_drawn_bca"),
            groups=_one((family.recovery.paper, *family.recovery.variants, family.recovery.difference)),
        ),
        _law(family.law),
        _mediation(family.mediation),
        _mediators(family.mediators),
        _equivalence(family.equivalence),
        _survival(family.survival),
        Section(
            "memorisation",
            "Memorisation control",
            "Does the temperature change how fast the network fits its train set, or only the delay after it? An "
            "elasticity of 0 is no effect.",
            ("memorized_elasticity_tau", "delay_elasticity_tau", "delay_share_of_tau_effect"),
            groups=_one(family.memorisation),
        ),
        Section(
            "allocation",
            "Layer allocation",
            "One total norm, split differently between embedding and readout: does it matter which layer holds it?",
            ("allocation_max_over_min", "allocation_slowest_over_fastest", "allocation_r2_logit_scale"),
            groups=_one(family.allocation),
        ),
        Section(
            "transformer",
            "Transformer without normalisation",
            "Does the temperature undo the norm in a transformer too, where L does not fall with it?",
            ("norm_up_tau1_over_tau1.7", "transformer_norm_up_ratio", "transformer_r2_logit_scale"),
            groups=_one(family.transformer),
        ),
    )


def comparison_section(comparison: Comparison) -> Section:
    """One analysis between families."""
    title, question, headline = _COMPARISONS[comparison.kind]
    return Section(comparison.kind, title, question, headline, groups=_one(comparison.estimates))


def compared_sections(a: Analysis) -> tuple[tuple[Comparison, Section], ...]:
    """The comparisons that set families against each other, or forks among themselves, each with its section."""
    return tuple((c, comparison_section(c)) for c in a.comparisons if _compares(c))


def _compares(comparison: Comparison) -> bool:
    """Whether there is more than what each family says alone, as the norm effect under one loss is."""
    return comparison.known and (len(comparison.families) > 1 or comparison.kind == FORKS)


def missing_comparisons(a: Analysis) -> tuple[tuple[str, str], ...]:
    """Title of each kind of comparison that the table does not support, and the reason."""
    there = {c.kind for c, _ in compared_sections(a)}
    lacking = {c.kind: c for c in reversed(a.comparisons) if c.kind not in there}
    reasons = {kind: next(e.reason for e in c.estimates if e.reason) for kind, c in lacking.items()}
    return tuple((_COMPARISONS[kind][0], reasons[kind]) for kind in _COMPARISONS if kind in reasons)


_COMPARISONS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    LOSSES: (
        "Loss dissociation",
        "Under squared error the logit scale stays put. How much of the norm's effect is left? If the norm acted "
        "through the logit scale alone, nothing of it would be.",
        ("norm_up_ratio_ce", "norm_up_ratio_mse", "logit_scale_up_ratio_mse", "norm_effect_mse_over_ce"),
    ),
    PRECISIONS: (
        "Precision audit",
        "Is the delay at the highest doses a matter of rounding? float32 against float64 at the same held norm.",
        (
            "float64_over_float32_rho_1.15",
            "float64_over_float32_at_least_rho_1.25",
            "softmax_collapse_float32_rho_1.25",
        ),
    ),
    FORKS: (
        "Same state, different norm",
        "Arms that share weights, moments and step at the fork: does the held norm itself delay grokking?",
        ("raised_over_same", "raised_over_same_bca", "same_over_lowered", "same_over_free"),
    ),
    MODULI: (
        "One exponent for all moduli",
        "Is the exponent of the law the same at every modulus, in units of ρ? What is not rejected is not thereby "
        "shown.",
        ("shared_alpha_rho", "equal_alpha_rho_p", "alpha_rho_max_over_min"),
    ),
}


def _collapse(fitted: collapse.Collapse) -> Section:
    rows = zip(collapse.QUANTITIES, fitted.estimates, fitted.runs, fitted.difference, strict=True)
    return Section(
        "collapse",
        "Collapse regression",
        "Do the cells fall on one line over the logit scale L, whichever of ρ and τ moved it, or does the dose ρ order "
        "them better? Regressed is y = ln T, the natural logarithm of grokked_step, not of the delay.",
        ("r2_logit_scale", "r2_rho", "partial_r2_rho_given_logit_scale", "partial_r2_logit_scale_given_rho"),
        tuple(Compared(q.name, paper, runs, difference) for q, paper, runs, difference in rows),
        (
            *_by_convention("Error of predicting a cell that was left out", fitted.prediction),
            Group("Mixed model, the seed as random intercept", fitted.mixed),
            *_by_convention("Is it a line? A spline against it", fitted.spline),
        ),
        collapse.CAVEAT,
    )


def _law(law: Law) -> Section:
    names = ("alpha_per_norm_unit", "alpha_per_rho", "alpha_per_logit_scale")
    rows = tuple(Compared(n, law[n], law[f"{n}_runs"], law[f"{n}_runs_minus_paper"]) for n in names)
    told = {e.name for row in rows for e in (row.paper, row.runs, row.difference)}
    return Section(
        "law",
        "Exponential law",
        "How does the grokking step grow with the held norm: exponentially, or as a power law or a saddle-node would "
        "have it? An AIC difference below about 2 is no evidence.",
        ("alpha_per_norm_unit", "alpha_per_rho", "r_squared", "delta_aic_vs_best_alternative"),
        rows,
        _one(tuple(e for e in law.estimates if e.name not in told)),
    )


def _mediation(fitted: Mediation) -> Section:
    return Section(
        "mediation",
        "Mediation through the logit scale",
        "How much of the effect of ρ on ln T runs through ln L (ACME), how much beside it (ADE), and how strong would "
        "something unmeasured have to be to explain the first?",
        ("proportion_mediated", "acme", "ade", "acme_zero_correlation"),
        _both(fitted, [q.name for q in mediation.QUANTITIES]),
        (
            Group(
                "The same by statsmodels' parametric simulation, as a check",
                fitted.runs.estimates[len(mediation.QUANTITIES) :],
            ),
        ),
        fitted.caveat,
    )


def _mediators(fitted: Mediators) -> Section:
    return Section(
        "mediators",
        "Competing mediators",
        "Is it L, or another quantity that the dose moves: gradient norm, update norm, turn angle, pre-activation "
        "scale? Each given the other, and the share of R² that falls to each of them (LMG).",
        tuple(f"lmg_share_{name}" for name in (SCALE, *RIVALS)),
        _both(fitted, [e.name for e in fitted.paper.estimates]),
        caveat="All of them are read at the grokking step, so all are endogenous as L is; a share is a description.",
    )


def _equivalence(found: Equivalence) -> Section:
    pairs = tuple(Group(pair.label, pair.estimates) for pair in found.pairs)
    return Section(
        "equivalence",
        "Matched L, different dose",
        "Do cells of different ρ that have the same L grok at the same step? Tested against a factor of 1.25 either "
        "way, so that a small p is evidence for equality.",
        ("p_all_equivalent",),
        groups=(*_one((found.p_all,)), *pairs),
    )


def _survival(fitted: Survival) -> Section:
    medians = (Group(f"{m.label}: {m.n_censored} did not grok", (m.median,)) for m in fitted.medians)
    return Section(
        "survival",
        "Grokking times with their censoring",
        "What do ρ and τ do to the grokking time when runs that never grokked stay in? Where none is censored this is "
        "least squares.",
        ("aft_lognormal_rho", "aft_lognormal_ln_tau", "cox_rho"),
        groups=(*_one(fitted.estimates), *medians),
    )


def _both(fitted: InBoth, names: Sequence[str]) -> tuple[Compared, ...]:
    return tuple(Compared(name, fitted.paper[name], fitted.runs[name], fitted.difference(name)) for name in names)


def _by_convention(label: str, estimates: tuple[Estimate, ...]) -> tuple[Group, ...]:
    """Two groups: the estimates of `runs` have names that end so."""
    runs = tuple(e for e in estimates if e.name.endswith("_runs"))
    paper = tuple(e for e in estimates if e not in runs)
    return (Group(f"{label}, convention paper", paper), Group(f"{label}, convention runs", runs))


def _one(estimates: tuple[Estimate, ...]) -> tuple[Group, ...]:
    return (Group("", estimates),)
