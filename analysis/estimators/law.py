"""How the grokking step grows with the held norm: the exponential law of arXiv:2606.18465 and what speaks against it.

ln T = c + alpha x over the cells of arm clamp at tau 1, rho <= 1.15, in which a majority grokked, below the first jump
of L by more than 2.5 times. x is the held norm (the paper's), rho (comparable across moduli) or L. Seven cells decide
little: AIC differences below about 2 are no evidence, and AICc, which counts for more at n = 7, is given beside AIC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from grok_sweeps.analysis.estimate import Estimate, Named, absent
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, counts, seed_table
from grok_sweeps.analysis.methods.convention import (
    PAPER_T,
    RUNS_T,
    grokked_steps,
    mean_scales,
    median_steps,
    not_grokked,
    scale_sentence,
    unscaled,
    usable_without_scale,
)
from grok_sweeps.analysis.methods.forms import (
    EXPONENTIAL,
    POWER,
    SADDLE_NODE,
    SMALLEST,
    FittedForm,
    FormFits,
    fit_forms,
    fitted_forms,
    power_profile,
    slope_profile,
    steps_profile,
)
from grok_sweeps.analysis.methods.resampled import Kind, Seeds, Statistic, estimated, seeds_of
from grok_sweeps.analysis.table.cells import Cell

RHO_MAX = 1.15
JUMP = 2.5
"""Ratio of L between neighbouring doses from which on float32 has collapsed and the law is not claimed."""
MIN_CELLS = 4

_PROFILE = " Interval: profile likelihood over the cells, threshold exact for normal errors."


@dataclass(frozen=True, slots=True)
class Law(Named):
    """Estimates of the law over one family's doses, and the cells that it rests on in order of rho.

    `forms` are the fitted curves over the held norm, or over rho where `by_norm` is false (w_c unknown); empty where no
    axis can be fitted.
    """

    estimates: tuple[Estimate, ...]
    cells: tuple[Cell, ...]
    forms: tuple[FittedForm, ...]
    by_norm: bool


def law_cells(cells: Sequence[Cell]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """The cells that the law is fitted to, by rho, and a sentence for each cell of the sweep that it is not."""
    usable, why = usable_without_scale([c for c in cells if c.tau == 1.0])
    rising = sorted(usable, key=lambda c: c.rho or 0.0)
    n_other = sum(c.tau != 1.0 for c in cells)
    left_out = [*why, *([f"{n_other} cells at another tau than 1"] if n_other else [])]
    used = [c for c in rising if (c.rho or 0.0) <= RHO_MAX + 1e-9]
    left_out += [f"{c.label}: rho is above {RHO_MAX:g}" for c in rising if c not in used]
    table = seed_table(used)
    scales = mean_scales(table, np.arange(len(table))[None])[0] if used else np.empty(0)
    known = np.nonzero(~np.isnan(scales))[0]
    jump = next(((a, b) for a, b in pairwise(known.tolist()) if scales[b] > JUMP * scales[a]), None)
    if jump is not None:
        last, first = jump
        # L of a cell between the two is unknown, so the jump may lie below it.
        left_out += [f"{c.label}: L is unknown where it jumps" for c in used[last + 1 : first]]
        left_out += [f"{c.label}: L has jumped by more than {JUMP:g} times below it" for c in used[first:]]
        used, scales = used[: last + 1], scales[: last + 1]
    unknown = [c for c, scale in zip(used, scales, strict=True) if np.isnan(scale)]
    if unknown:
        doses = ", ".join(f"{c.rho:g}" for c in unknown)
        left_out.append(f"L is unknown at rho {doses}, so that a jump there could not be checked (not left out)")
    return tuple(used), tuple(left_out)


def law(cells: Sequence[Cell], *, resamples: int, seed: int) -> Law:
    """The exponential law of one family against the power and saddle-node forms, by both conventions."""
    used, left_out = law_cells(cells)
    fit = _Fit(used, (*left_out, *not_grokked(used)), resamples, seed)
    by_norm, by_rho, by_scale = (fit.axis(name) for name in ("norm", "rho", "L"))
    estimates = (
        *_alpha(fit, by_norm, "alpha_per_norm_unit", "ln step per norm unit"),
        fit.bootstrap(
            by_norm, "r_squared", "1", "R² of the exponential law in the held norm.", lambda f: f.r_squared, Kind.R2
        ),
        *_against(fit, by_norm, ""),
        *_alpha(fit, by_rho, "alpha_per_rho", "ln step per unit of rho"),
        *_alpha(fit, by_scale, "alpha_per_logit_scale", "ln step per unit of L"),
        fit.bootstrap(
            by_scale, "r_squared_logit_scale", "1", "R² of the exponential law in L.", lambda f: f.r_squared, Kind.R2
        ),
        *_against(fit, by_scale, "_logit_scale"),
    )
    drawn = by_rho if by_norm.problem else by_norm
    return Law(estimates, used, () if drawn.problem else fitted_forms(fit.y, drawn.x), drawn is by_norm)


@dataclass(frozen=True, eq=False)
class _Axis:
    """One dose of the cells: its name, values [n], why there are none, and what every fit over it leaves out."""

    name: str
    x: Floats
    problem: str
    left_out: tuple[str, ...]


class _Fit:
    """What all estimates of one law share."""

    def __init__(self, used: tuple[Cell, ...], left_out: tuple[str, ...], resamples: int, seed: int) -> None:
        self.table = seed_table(used)
        self.seeds: Seeds = seeds_of(self.table, resamples, seed)
        self.used, self.left_out = used, left_out
        self._log_steps: dict[bytes, Floats] = {}
        self._kept: dict[tuple[str, bytes], FormFits] = {}
        self.n_runs = sum(c.n_grokked for c in used)
        self.problem = "" if len(used) >= MIN_CELLS else f"doses: {len(used)}, at least {MIN_CELLS} are needed"
        self.y = np.log(median_steps(self.table, self.seeds.whole)[0]) if used else np.empty(0)
        if not self.problem and np.ptp(self.y) == 0:
            self.problem = "all cells have the same median grokked_step"
        self.method = (
            f"ln T = c + alpha x over clamp cells at tau 1 and rho up to {RHO_MAX:g} in which a majority grokked, "
            f"below the first jump of L by more than {JUMP:g} times from one known L to the next; {PAPER_T}; least "
            "squares, unweighted."
        )

    def axis(self, name: str) -> _Axis:
        """The cells' doses in one unit."""
        whole = self.seeds.whole
        if name == "L":
            x = mean_scales(self.table, whole)[0] if self.used else np.empty(0)
        else:
            x = np.array([c.rho if name == "rho" else c.held_norm for c in self.used], dtype=np.float64)
        problem = self.problem
        if not problem and np.isnan(x).any():
            problem = f"not every cell has {'L' if name == 'L' else 'w_c, so its held norm is unknown'}"
        if not problem and (x.min() <= 0 or np.ptp(x) <= 1e-9 * x.max()):
            problem = f"the cells do not differ in {'the held norm' if name == 'norm' else name}, or it is not positive"
        if not problem and x.min() <= SMALLEST:
            problem = f"{name} is not above {SMALLEST:g}, so its powers cannot be computed"
        sentence = {"norm": "the held norm rho w_c", "rho": "rho", "L": f"L, which {scale_sentence(self.table)[2:]}"}
        left_out = (*self.left_out, *(unscaled(self.table) if name == "L" and not problem else ()))
        return _Axis(sentence[name], x, problem, left_out)

    def fits(self, axis: _Axis, lists: Ints) -> FormFits:
        """The three forms for each list of seeds; kept, since every quantity of an axis reads the same fits."""
        key = lists.tobytes()
        if key not in self._log_steps:
            self._log_steps[key] = np.log(median_steps(self.table, lists))
        if (axis.name, key) not in self._kept:
            self._kept[axis.name, key] = fit_forms(self._log_steps[key], axis.x)
        return self._kept[axis.name, key]

    def none(self, axis: _Axis, name: str, unit: str, method: str, reason: str) -> Estimate:
        """An estimate without a value."""
        return absent(name, unit, method, reason, n_runs=self.n_runs, n_cells=len(self.used), left_out=axis.left_out)

    def profiled(
        self, axis: _Axis, name: str, unit: str, method: str, value: float, interval: tuple[float, float]
    ) -> Estimate:
        """An estimate with a profile interval."""
        return Estimate(
            name,
            value,
            unit,
            method + _PROFILE,
            interval=interval,
            n_runs=self.n_runs,
            n_cells=len(self.used),
            left_out=axis.left_out,
        )

    def bootstrap(
        self,
        axis: _Axis,
        name: str,
        unit: str,
        sentence: str,
        of: Callable[[FormFits], Floats],
        kind: Kind = Kind.EXPANDED,
    ) -> Estimate:
        """A quantity of the three forms with an interval over seeds."""
        method = f"{sentence} {self.method} x is {axis.name}, held at its full-sample value."
        if axis.problem:
            return self.none(axis, name, unit, method, axis.problem)

        return self.over_seeds(
            axis,
            name,
            unit,
            method,
            lambda lists: of(self.fits(axis, lists)),
            "too few cells for AICc, or a form fits them exactly",
            kind,
        )

    def over_seeds(
        self,
        axis: _Axis,
        name: str,
        unit: str,
        method: str,
        statistic: Statistic,
        undefined: str,
        kind: Kind = Kind.EXPANDED,
    ) -> Estimate:
        """A statistic of the seeds."""
        return estimated(
            name,
            unit,
            method,
            statistic,
            self.seeds,
            undefined=undefined,
            kind=kind,
            n_runs=self.n_runs,
            n_cells=len(self.used),
            left_out=axis.left_out,
        )


def _alpha(fit: _Fit, axis: _Axis, name: str, unit: str) -> tuple[Estimate, ...]:
    """The exponent over one axis: profile interval, interval over seeds, fit on T itself, by runs, and by how much."""
    method = f"Slope alpha. {fit.method} x is {axis.name}."
    on_steps = f"alpha of T = exp(c + alpha x) fitted to T itself. {fit.method} x is {axis.name}."
    runs_method = f"Slope alpha of convention runs: {RUNS_T.split(',')[0]}, ln T on x. {fit.method} x is {axis.name}."
    names = (name, f"{name}_over_seeds", f"{name}_fit_on_steps", f"{name}_runs", f"{name}_runs_minus_paper")
    if axis.problem:
        return tuple(fit.none(axis, n, unit, method, axis.problem) for n in names)
    slope, interval = slope_profile(fit.y, axis.x)
    by_runs = _slope_of_runs(fit, axis.x)

    def difference(lists: Ints) -> Floats:
        return by_runs(lists) - fit.fits(axis, lists).slope

    direct = steps_profile(np.exp(fit.y), axis.x)
    return (
        fit.profiled(axis, names[0], unit, method, slope, interval),
        fit.bootstrap(axis, names[1], unit, "Slope alpha.", lambda f: f.slope),
        fit.none(axis, names[2], unit, on_steps, "T fits no exponential with a bounded exponent")
        if direct is None
        else fit.profiled(axis, names[2], unit, on_steps, *direct),
        fit.over_seeds(axis, names[3], unit, runs_method, by_runs, "the runs do not determine a slope"),
        fit.over_seeds(
            axis, names[4], unit, f"Convention runs minus paper. {runs_method}", difference, "no slope", Kind.BASIC
        ),
    )


def _slope_of_runs(fit: _Fit, x: Floats) -> Statistic:
    """Slope of ln T on x over the runs of each list of seeds."""
    y, away = np.log(grokked_steps(fit.table)) - fit.y.mean(), x - x.mean()
    there = ~np.isnan(y)
    y = np.where(there, y, 0.0)
    sums = np.stack([there.sum(1), y.sum(1), there @ away, y @ away, there @ away**2], axis=1)

    def slope(lists: Ints) -> Floats:
        n, sy, sx, sxy, sxx = (counts(lists, len(y)) @ sums).T
        return np.asarray((sxy - sx * sy / n) / (sxx - sx**2 / n))

    return slope


def _against(fit: _Fit, axis: _Axis, suffix: str) -> tuple[Estimate, ...]:
    """AIC and AICc of the other forms minus that of the exponential (positive favours it), and the power's exponent."""

    def best(of: Callable[[str], Floats]) -> Floats:
        return np.asarray(np.minimum(of(POWER), of(SADDLE_NODE)) - of(EXPONENTIAL))

    told = "{} of the best of the power and saddle-node forms minus that of the exponential; positive favours it."
    single = "AIC of the {} form minus that of the exponential; positive favours the exponential."
    quantities: tuple[tuple[str, str, Callable[[FormFits], Floats]], ...] = (
        ("delta_aic_vs_best_alternative", told.format("AIC"), lambda f: best(f.aic)),
        ("delta_aicc_vs_best_alternative", told.format("AICc"), lambda f: best(f.aicc)),
        ("delta_aic_power", single.format("power"), lambda f: f.aic(POWER) - f.aic(EXPONENTIAL)),
        ("delta_aic_saddle_node", single.format("saddle-node"), lambda f: f.aic(SADDLE_NODE) - f.aic(EXPONENTIAL)),
    )
    scores = [fit.bootstrap(axis, name + suffix, "1", sentence, of) for name, sentence, of in quantities]
    name, method = f"power_exponent{suffix}", f"Exponent beta of ln T = c + beta ln(x − x0), 0 ≤ x0. {fit.method}"
    if axis.problem:
        return (*scores, fit.none(axis, name, "1", method, axis.problem))
    return (*scores, fit.profiled(axis, name, "1", method, *power_profile(fit.y, axis.x)))
