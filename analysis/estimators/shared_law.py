"""Is the exponent of the exponential law the same at every modulus, in units of rho?

A pooled fit ln T = c_p + alpha rho with one intercept a modulus, against one slope a modulus as well, by the F test of
nested models. Equality that is not rejected is not shown: seven cells a modulus leave room, so the slopes' spread is
given too. In norm units the exponents differ by construction, since w_c grows with p.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.anova import anova_lm

from grok_sweeps.analysis.estimate import Estimate, Named, absent
from grok_sweeps.analysis.estimators.law import MIN_CELLS, law_cells
from grok_sweeps.analysis.methods.bootstrap import Floats, Ints, seed_table
from grok_sweeps.analysis.methods.convention import (
    PAPER_T,
    mean_scales,
    median_steps,
    not_grokked,
    scale_sentence,
    unscaled,
)
from grok_sweeps.analysis.methods.forms import SMALLEST
from grok_sweeps.analysis.table.cells import Cell

_METHOD = (
    "ln T over rho in the cells of the exponential law, an intercept for each modulus; {what} "
    + PAPER_T
    + "; ordinary "
    "least squares."
)


@dataclass(frozen=True, slots=True)
class SharedLaw(Named):
    """Estimates of the shared exponent in units of rho and of L, and the test that moduli share it."""

    estimates: tuple[Estimate, ...]


def shared_law(families: Mapping[str, tuple[Cell, ...]]) -> SharedLaw:
    """Pool the laws of several families, named by what they differ in (the modulus); at least two need 4 doses."""
    laws = {name: law_cells(cells) for name, cells in families.items()}
    kept = {name: used for name, (used, _) in laws.items() if len(used) >= MIN_CELLS}
    left_out = tuple(
        f"{name}, {sentence}"
        for name, (used, why) in laws.items()
        for sentence in (
            *((f"{len(used)} doses, at least {MIN_CELLS} are needed",) if name not in kept else ()),
            *why,
            *not_grokked(used),
        )
    )
    unread = tuple(f"{name}, {sentence}" for name, used in kept.items() for sentence in unscaled(seed_table(used)))
    by_rho, by_scale = _pooled(kept, "rho", left_out), _pooled(kept, "logit_scale", (*left_out, *unread))
    return SharedLaw((*by_rho, *by_scale))


def _pooled(kept: Mapping[str, tuple[Cell, ...]], axis: str, left_out: tuple[str, ...]) -> list[Estimate]:
    n_runs, n_cells = sum(c.n_grokked for used in kept.values() for c in used), sum(map(len, kept.values()))
    x_name = "rho" if axis == "rho" else "L"
    unit = f"ln step per unit of {x_name}"
    wanted = (
        (f"shared_alpha_{axis}", unit, "one slope for all. Interval: t."),
        (f"equal_alpha_{axis}_f", "1", "F of one slope a modulus against one for all."),
        (f"equal_alpha_{axis}_p", "1", "p value of that F test; small means that the moduli differ."),
        (f"equal_alpha_{axis}_delta_aic", "1", "AIC of own slopes minus AIC of one slope; positive favours one slope."),
        (f"alpha_{axis}_max_over_min", "1", "largest over smallest slope of a modulus."),
    )
    y, x, group, sentence = _columns(kept, axis)
    reason = _problem(y, x, group, kept, x_name)
    method = _METHOD.replace("over rho", f"over {x_name}") + ("" if axis == "rho" else f" {sentence}.")

    def none(why: str) -> list[Estimate]:
        return [
            absent(n, u, method.format(what=w), why, n_runs=n_runs, n_cells=n_cells, left_out=left_out)
            for n, u, w in wanted
        ]

    if reason:
        return none(reason)
    own_intercepts = (group[:, None] == np.unique(group)).astype(np.float64)
    centred = x[:, None] - (own_intercepts * (own_intercepts.T @ x / own_intercepts.sum(0))).sum(1, keepdims=True)
    one = OLS(y, np.column_stack([own_intercepts, centred])).fit()
    own = OLS(y, np.column_stack([own_intercepts, own_intercepts * centred])).fit()
    if own.ssr <= 1e-18 * len(y):
        return none("the slopes fit every cell exactly")
    test = anova_lm(one, own)
    low, high = (float(v) for v in one.conf_int()[-1])
    slopes = own.params[own_intercepts.shape[1] :]
    ratio = float(slopes.max() / slopes.min()) if slopes.min() > 0 else None
    values = (
        float(one.params[-1]),
        float(test["F"].iloc[1]),
        float(test["Pr(>F)"].iloc[1]),
        float(own.aic - one.aic),
        ratio,
    )
    return [
        Estimate(
            name,
            value,
            unit_,
            method.format(what=what),
            interval=(low, high) if i == 0 else None,
            n_runs=n_runs,
            n_cells=n_cells,
            left_out=left_out,
            reason="" if value is not None else "a modulus has a slope that is not positive",
            interval_reason="" if i == 0 else "none is stated for a test statistic or an extreme",
        )
        for i, ((name, unit_, what), value) in enumerate(zip(wanted, values, strict=True))
    ]


def _columns(kept: Mapping[str, tuple[Cell, ...]], axis: str) -> tuple[Floats, Floats, Ints, str]:
    y: list[float] = []
    x: list[float] = []
    group: list[int] = []
    sentence = ""
    for place, used in enumerate(kept.values()):
        table = seed_table(used)
        whole = np.arange(len(table))[None]
        y += np.log(median_steps(table, whole)[0]).tolist()
        x += [c.rho or 0.0 for c in used] if axis == "rho" else mean_scales(table, whole)[0].tolist()
        group += [place] * len(used)
        sentence = scale_sentence(table)
    return np.array(y), np.array(x), np.array(group, dtype=np.int64), sentence


def _problem(y: Floats, x: Floats, group: Ints, kept: Mapping[str, tuple[Cell, ...]], x_name: str) -> str:
    if len(kept) < 2:
        return f"moduli with a law: {len(kept)}, at least 2 are needed"
    if np.isnan(x).any():
        return f"not every cell has {x_name}"
    if x.max() <= SMALLEST:
        return f"{x_name} goes no further than {x.max():.2g}, so its squares cannot be computed"
    if any(np.ptp(x[group == g]) <= 1e-9 * np.abs(x).max() for g in range(len(kept))):
        return f"the cells of a modulus do not differ in {x_name}"
    return "all cells have the same T" if np.ptp(y) == 0 else ""
