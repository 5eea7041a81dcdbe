"""Precision audit: float32 against float64 at each dose that both have, a bound where a median is beyond the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from grok_sweeps.analysis.comparisons import Comparison
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.precision import DTYPES
from grok_sweeps.analysis.render import captions, numbers
from grok_sweeps.analysis.render.canvas import Drawing, blank_figure, entitle
from grok_sweeps.analysis.render.forest import BOUND, FIRST, SECOND, THIRD, Forest, Point, Row, panels, point
from grok_sweeps.analysis.result import Family
from grok_sweeps.analysis.table.cells import Cell

_SERIES = (FIRST.named("float32"), SECOND.named("float64"))
_SHARE = f"grokked_share_{DTYPES[0]}_rho_"

Pair = tuple[Cell, ...]
"""The cell of each precision, in the order of DTYPES."""


def precision_plot(comparison: Comparison, families: Sequence[Family], name: str) -> Drawing:
    """Draw median step, its ratio, softmax-collapse rate and share grokked of both precisions at each dose."""
    found = {e.name: e for e in comparison.estimates}
    cells = {str(dict(f.key.config)["dtype"]): f.cells for f in families}
    doses = [name.removeprefix(_SHARE) for name in found if name.startswith(_SHARE)]
    pairs = {rho: tuple(_held(cells[dtype], rho) for dtype in DTYPES) for rho in doses}
    medians = [
        (f"median grokked_step in {dtype} at ρ {rho}", cell)
        for rho, pair in pairs.items()
        for dtype, cell in zip(DTYPES, pair, strict=True)
    ]
    ratios = [
        (f"float64 over float32 {'at least ' if is_bound else ''}at ρ {rho}", e)
        for rho in doses
        for e, is_bound in (_ratio(found, rho),)
    ]
    collapsed, grokked = (
        [(f"{words} in {dtype} at ρ {rho}", found[f"{key}_{dtype}_rho_{rho}"]) for rho in doses for dtype in DTYPES]
        for words, key in (("softmax collapse", "softmax_collapse"), ("share grokked", "grokked_share"))
    )
    steps = [(words, cell.grokked_step) for words, cell in medians if not _is_beyond(cell)]
    bounds = len(steps) < len(medians) or any(_ratio(found, rho)[1] for rho in doses)
    caption = captions.joined(
        "All at τ = 1 and equal held norm. Median grokked_step over all runs, one that did not grok counts as +∞; "
        "ratio of these medians, paired over seeds; largest share over the run of train pairs whose correct-class "
        "probability rounds to 1, mean over seeds; share of the runs that grokked within the budget.",
        "Triangles: the median lies beyond the budget, which is its lower bound and gives that of the ratio."
        if bounds
        else "",
        f"One cell each; grokked: {'; '.join(f'ρ {rho}: {_counted(pair)}' for rho, pair in pairs.items())}.",
        captions.intervals(steps, "Whiskers of medians"),
        captions.intervals([*ratios, *collapsed], "Whiskers of ratios and collapse"),
        captions.intervals(grokked, "Whiskers of the share grokked"),
        captions.absences([*steps, *ratios, *collapsed, *grokked]),
    )
    alt = (
        "Four forest plots, float32 against float64 at each dose: "
        f"{'; '.join(f'{words} {_step(cell).text}' for words, cell in medians)}; "
        f"{captions.spoken([*ratios, *collapsed, *grokked])}."
    )
    heading = "Precision audit: float32 against float64"
    return Drawing(name, heading, caption, alt, lambda: _paint(comparison, found, pairs))


def _held(cells: Sequence[Cell], rho: str) -> Cell:
    """The cell that the comparison used at a dose, as its estimates write it."""
    return next(
        c
        for c in cells
        if c.arm == "clamp" and c.tau == 1.0 and not c.superseded and c.rho is not None and f"{c.rho:g}" == rho
    )


def _label(rho: str) -> str:
    return f"ρ = {numbers.dose(float(rho))}"


def _counted(pair: Pair) -> str:
    return ", ".join(f"{c.n_grokked} of {c.n_counted} runs in {d}" for d, c in zip(DTYPES, pair, strict=True))


def _is_beyond(cell: Cell) -> bool:
    """Whether the median is later than the budget, rather than undefined."""
    return cell.horizon_steps is not None and 2 * cell.n_grokked < cell.n_counted


def _step(cell: Cell) -> Point:
    if not _is_beyond(cell):
        return point(cell.grokked_step)
    return Point(cell.horizon_steps, None, f"> {numbers.steps(cell.horizon_steps)}", is_bound=True)


def _ratio(found: Mapping[str, Estimate], rho: str) -> tuple[Estimate, bool]:
    """The ratio of the medians of all runs, or else its lower bound, or else the former with its reason."""
    ratio, bound = found[f"float64_over_float32_rho_{rho}_all_runs"], found[f"float64_over_float32_at_least_rho_{rho}"]
    return (bound, True) if ratio.value is None and bound.value is not None else (ratio, False)


def _paint(comparison: Comparison, found: Mapping[str, Estimate], pairs: Mapping[str, Pair]) -> Figure:
    def of_both(key: str) -> Forest:
        return Forest(
            _SERIES,
            tuple(Row(_label(rho), tuple(point(found[f"{key}_{d}_rho_{rho}"]) for d in DTYPES)) for rho in pairs),
        )

    steps = Forest(_SERIES, tuple(Row(_label(rho), tuple(_step(c) for c in pair)) for rho, pair in pairs.items()))
    ratio = Forest((THIRD,), tuple(Row(_label(rho), (_ratio_point(found, rho),)) for rho in pairs))
    collapsed, grokked = of_both("softmax_collapse"), of_both("grokked_share")
    figure = blank_figure(10.0, 2 * steps.inches + 0.6)
    axes_of = panels(figure, 2, 2)
    steps.paint(axes_of[0, 0], log=True)
    ratio.paint(axes_of[0, 1], log=True, references=(1.0,))
    collapsed.paint(axes_of[1, 0], within=(-0.04, 1.04))
    grokked.paint(axes_of[1, 1], within=(-0.04, 1.04))
    for axes, title, unit in zip(
        axes_of.flat,
        ("Median grokking step", "Ratio of the medians", "Softmax collapse", "Runs that grokked"),
        ("step (log)", "float64 over float32 (log)", "largest share of train pairs", "share of runs"),
        strict=True,
    ):
        axes.set_title(title)
        axes.set_xlabel(unit)
    handles = steps.handles
    if any(p.is_bound for row in (*steps.rows, *ratio.rows) for p in row.points):
        handles.append(THIRD.named("lower bound: beyond the budget").handle)
        handles[-1].set(marker=BOUND, linestyle="none")
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
    entitle(figure, comparison.title)
    return figure


def _ratio_point(found: Mapping[str, Estimate], rho: str) -> Point:
    estimate, is_bound = _ratio(found, rho)
    return point(estimate, is_bound=is_bound)
