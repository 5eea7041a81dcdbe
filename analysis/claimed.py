"""Which of our estimates answers a printed number of arXiv:2606.18465.

A family answers where it is in the paper's setting. Several may be (another w_c at the same dose is another family):
the one whose w_c is nearest to the paper's is asked first, then the one with the most runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grok_sweeps.analysis.comparisons import FORKS, LOSSES, PRECISIONS, Comparison
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.allocation import allocated_cells
from grok_sweeps.analysis.estimators.collapse import Collapse, collapse
from grok_sweeps.analysis.estimators.recovery import RHO_UP
from grok_sweeps.analysis.estimators.transformer import ARCH as TRANSFORMER
from grok_sweeps.analysis.table.cells import Cell, median_of_grokked
from grok_sweeps.analysis.table.families import FamilyKey
from grok_sweeps.config import ADDED_LATER

if TYPE_CHECKING:
    from grok_sweeps.analysis.claims import Printed
    from grok_sweeps.analysis.result import Family

SETTING = {"task": "add", "train_fraction": 0.4, "d_model": 128, "optimizer": "adamw", "weight_decay": 1.0}
SETTING_BY_ARCH = {"mlp": {"lr": 1e-3, "hidden": 256}, TRANSFORMER: {"lr": 5e-4, "hidden": 512, "heads": 4}}
"""What the paper trains (protocol sections of its models and optimiser); a column that is unknown is taken as this."""

CLAMP_FROM = {("mlp", "ce"): 500, ("mlp", "mse"): 50, (TRANSFORMER, "ce"): 600}
FORK_STEP = 800
KNOWN = ("p", "arch", "loss")
"""Columns that must be known: the paper has several values of each."""

W_C_OF_CELLS, W_C_OF_CONTRASTS = 1e-3, 0.05
"""How far w_c may be from the paper's, relatively: a step or an L follows the norm, a ratio or an R² hardly does."""
CONTRASTS = ("recovery_fraction", "norm_up_ratio", "norm_up_tau1_over_tau1.7", "max_over_min_grokked_step")

FORK_ARMS = {"clamp_lowered": "lowered", "clamp_same": "same", "clamp_raised": "raised", "free": "free"}


LAW_DOSES = frozenset((0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15))
GAMMAS = frozenset((-0.6, -0.3, 0.0, 0.3, 0.6))
PAPER_GRID = frozenset((rho, tau) for rho in (1.0, 1.05, 1.1, 1.15) for tau in (1.0, 1.3, 1.7))
"""The twelve cells of the published collapse; a family may have more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Our estimate, and what keeps it from being judged: `w_c` where it is not the paper's, or other cells."""

    estimate: Estimate
    w_c: float | None
    other_norm: bool
    other_cells: bool


class Answers:
    """Finds the estimates that answer printed numbers, among those of an analysis."""

    def __init__(
        self, families: Sequence[Family], comparisons: Sequence[Comparison], *, resamples: int, seed: int
    ) -> None:
        self._families, self._comparisons = families, comparisons
        self._few = {"resamples": resamples, "seed": seed}
        self._grids: dict[FamilyKey, Collapse] = {}

    def find(self, printed: Printed) -> Answer | str:
        """The first estimate with a value, of the family nearest to the paper's, or why the nearest has none.

        Empty where no family has such an estimate.
        """
        lack = ""
        dtype = "float64" if printed.quantity.endswith("float64") else "float32"
        near = sorted(
            (f for f in self._families if in_setting(f, printed, dtype)),
            key=lambda f: (round(_apart(f, printed) / W_C_OF_CELLS) if _w_c(f) else math.inf, -_n_runs(f)),
        )
        for family in near:
            for estimate in self._of(family, printed, dtype):
                if estimate.value is not None:
                    apart = _apart(family, printed)
                    return Answer(
                        estimate,
                        _w_c(family) if apart > W_C_OF_CELLS else None,
                        apart > (W_C_OF_CONTRASTS if _is_contrast(printed) else W_C_OF_CELLS),
                        self._has_other_cells(printed, family),
                    )
                lack = lack or estimate.reason
        return lack

    def _of(self, family: Family, printed: Printed, dtype: str) -> Iterator[Estimate]:
        of_kind = {
            "norm_up_ratio": (LOSSES, f"norm_up_ratio_{printed.loss}"),
            "raised_over_same": (FORKS, "raised_over_same"),
            "delay_from_fork": (FORKS, f"delay_from_fork_{FORK_ARMS.get(printed.arm)}"),
            f"softmax_collapse_rate_{dtype}": (PRECISIONS, f"softmax_collapse_{dtype}_rho_{printed.rho or 0:g}"),
            f"grokked_share_{dtype}": (PRECISIONS, f"grokked_share_{dtype}_rho_{printed.rho or 0:g}"),
        }
        if printed.quantity in of_kind:
            kind, name = of_kind[printed.quantity]
            asked = (c for c in self._comparisons if c.kind == kind and family.key in c.families)
            yield from (e for c in asked for e in c.estimates if e.name == name)
        elif printed.table == "collapse":
            yield from (e for e in self._on_the_grid(family).estimates if e.name == printed.quantity)
        else:
            yield from _of_family(printed, family)

    def _has_other_cells(self, printed: Printed, family: Family) -> bool:
        """Whether a fit rests on other cells than the paper's."""
        if printed.table == "collapse":
            return {(c.rho, c.tau) for c in self._on_the_grid(family).cells} != PAPER_GRID
        if printed.table == "exponential_law":
            doses = {c.rho for c in family.law.cells}
            return not doses <= LAW_DOSES or len(doses) != printed.n
        if printed.quantity == "max_over_min_grokked_step":
            return {c.gamma for c in allocated_cells(family.cells)} != GAMMAS
        if printed.quantity == "recovery_fraction":
            return any(c.rho not in (1.0, RHO_UP) for c in family.recovery.cells)
        return False

    def _on_the_grid(self, family: Family) -> Collapse:
        """The collapse over the paper's own cells, where the family has them all and others too."""
        grid = [c for c in family.cells if (c.rho, c.tau) in PAPER_GRID]
        fitted = {(c.rho, c.tau) for c in family.collapse.cells}
        if not fitted > PAPER_GRID:
            return family.collapse
        if family.key not in self._grids:
            self._grids[family.key] = collapse(grid, **self._few)
        return self._grids[family.key]


def in_setting(family: Family, printed: Printed, dtype: str) -> bool:
    """Whether the family is what the paper trained for this number, up to w_c."""
    asked: dict[str, object] = {
        **ADDED_LATER,
        **SETTING,
        **SETTING_BY_ARCH.get(printed.arch, {}),
        "p": printed.p,
        "arch": printed.arch,
        "loss": printed.loss,
        "dtype": dtype,
        "clamp_from_step": CLAMP_FROM.get((printed.arch, printed.loss)),
        "fork_step": FORK_STEP,
    }
    for name, value in family.key.config:
        unknown_matters = name in KNOWN or (name == "dtype" and dtype != "float32")
        if value is None and unknown_matters:
            return False
        if value is not None and name in asked and not _same(value, asked[name]):
            return False
    return True


def _of_family(printed: Printed, family: Family) -> Iterator[Estimate]:
    whole: dict[str, Callable[[], Sequence[Estimate]]] = {
        "exponential_law": lambda: family.law.estimates,
        "mediation": lambda: (family.recovery.paper,),
        "layer_allocation": lambda: family.allocation,
        "transformer": lambda: family.transformer,
    }
    name = {"max_over_min_grokked_step": "allocation_max_over_min"}.get(printed.quantity, printed.quantity)
    if printed.table in whole:
        yield from (e for e in whole[printed.table]() if e.name == name)
    for cell in family.cells:
        if _is_the_cell(cell, printed):
            yield from _of_cell(cell, printed.quantity)


def _of_cell(cell: Cell, quantity: str) -> Iterator[Estimate]:
    if quantity.startswith("grokked_step"):
        yield median_of_grokked(cell)
    elif quantity == "memorized_step":
        yield cell.memorized_step
    elif quantity == "logit_scale_at_grok":
        yield cell.logged_logit_scale or cell.logit_scale


def _is_the_cell(cell: Cell, printed: Printed) -> bool:
    if cell.superseded or cell.arm != printed.arm or printed.rho is None or cell.rho is None:
        return False
    same_gamma = printed.gamma is None or (cell.gamma is not None and _close(cell.gamma, printed.gamma))
    return _close(cell.rho, printed.rho) and _close(cell.tau, printed.tau or 1.0) and same_gamma


def _apart(family: Family, printed: Printed) -> float:
    """How far the family's w_c is from the paper's, relatively; infinite where it is not known."""
    w_c = _w_c(family)
    if printed.w_c is None:
        return 0.0
    return math.inf if w_c is None else abs(w_c / printed.w_c - 1)


def _is_contrast(printed: Printed) -> bool:
    return printed.table in ("collapse", "exponential_law") or printed.quantity in CONTRASTS


def _w_c(family: Family) -> float | None:
    return next((c.w_c for c in family.cells if c.w_c is not None), None)


def _n_runs(family: Family) -> int:
    return sum(c.n_counted for c in family.cells)


def _same(value: object, asked: object) -> bool:
    return _close(value, asked) if isinstance(asked, float) else str(value) == str(asked)


def _close(one: object, other: float) -> bool:
    return isinstance(one, int | float) and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
