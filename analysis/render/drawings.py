"""All figures of an analysis: those of each family and of each comparison, named for the files that they become."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from matplotlib.figure import Figure

from grok_sweeps.analysis.comparisons import FORKS, LOSSES, MODULI, PRECISIONS, Comparison
from grok_sweeps.analysis.render.accuracy import ARMS, accuracy
from grok_sweeps.analysis.render.allocation_plot import allocation_plot
from grok_sweeps.analysis.render.canvas import Drawing, both, encoded, why_not
from grok_sweeps.analysis.render.collapse_plot import collapse_plot
from grok_sweeps.analysis.render.dissociation_plot import dissociation_plot
from grok_sweeps.analysis.render.equivalence_plot import equivalence_plot
from grok_sweeps.analysis.render.heatmap import heatmap
from grok_sweeps.analysis.render.law_plot import law_plot
from grok_sweeps.analysis.render.mediation_plot import mediation_plot
from grok_sweeps.analysis.render.mediators_plot import mediators_plot
from grok_sweeps.analysis.render.memorisation_plot import memorisation_plot
from grok_sweeps.analysis.render.precision_plot import precision_plot
from grok_sweeps.analysis.render.recovery_plot import recovery_plot
from grok_sweeps.analysis.render.same_state_plot import same_state_plot
from grok_sweeps.analysis.render.shared_law_plot import shared_law_plot
from grok_sweeps.analysis.render.survival_plot import survival_plot
from grok_sweeps.analysis.render.transformer_plot import transformer_plot
from grok_sweeps.analysis.result import Analysis, Family
from grok_sweeps.analysis.section import Section
from grok_sweeps.analysis.sections import compared_sections, family_sections

OF_CELLS: Mapping[str, Callable[[Family, str], Drawing]] = {"heatmap": heatmap, "accuracy": accuracy}
"""Figures that every family has, by the first part of their file name."""

OF_SECTIONS: Mapping[str, Callable[[Family, str], Drawing]] = {
    "collapse": collapse_plot,
    "recovery": recovery_plot,
    "law": law_plot,
    "mediation": mediation_plot,
    "mediators": mediators_plot,
    "equivalence": equivalence_plot,
    "survival": survival_plot,
    "memorisation": memorisation_plot,
    "allocation": allocation_plot,
    "transformer": transformer_plot,
}
"""The figure of an analysis within a family, by the section's name."""

OF_COMPARISONS: Mapping[str, Callable[[Comparison, Sequence[Family], str], Drawing]] = {
    LOSSES: dissociation_plot,
    FORKS: same_state_plot,
    PRECISIONS: precision_plot,
    MODULI: shared_law_plot,
}
"""The figure of a comparison, by its kind; it is given the families compared."""


def of_cells(family: Family) -> tuple[Drawing, ...]:
    """What the cells of one family are; none of a family of forks alone."""
    if not any(c.arm in ARMS for c in family.cells):
        return ()
    return tuple(_made(partial(draw, family), _named(kind, family)) for kind, draw in OF_CELLS.items())


def of_section(family: Family, section: Section) -> tuple[Drawing, ...]:
    """The figure of one analysis within a family; none where the table does not support it."""
    draw = OF_SECTIONS.get(section.name)
    if draw is None or section.missing:
        return ()
    return (_made(partial(draw, family), _named(section.name, family)),)


def of_comparison(a: Analysis, comparison: Comparison) -> tuple[Drawing, ...]:
    """The figure of one comparison."""
    draw = OF_COMPARISONS.get(comparison.kind)
    if draw is None:
        return ()
    compared = [family for family in a.families if family.key in comparison.families]
    return (_made(partial(draw, comparison, compared), comparison.slug),)


def drawings(a: Analysis) -> Iterator[Drawing]:
    """All of them, in the order of the report."""
    for family in a.families:
        yield from of_cells(family)
        for section in family_sections(family):
            yield from of_section(family, section)
    for comparison, _ in compared_sections(a):
        yield from of_comparison(a, comparison)


class Figures(dict[str, bytes]):
    """Bytes by file name; `missing` says why a figure is not among them, by its name without `.png` and `.svg`."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[str, str] = {}


def figures(a: Analysis) -> Figures:
    """Bytes by file name, PNG at 200 dpi and SVG: `heatmap.png`, or `heatmap-p59.png` where families differ.

    A figure that cannot be drawn is left out, and costs no other: `missing` has the reason.
    """
    made = Figures()
    as_svg: dict[str, bytes] = {}
    as_png: dict[str, Future[bytes]] = {}
    with _few_collections(), ThreadPoolExecutor(1) as beside:
        for drawing in drawings(a):
            try:
                pixels, as_svg[drawing.name] = both(drawing)
            except Exception as error:  # numbers are not lost for a picture, whatever is wrong with it
                made.missing[drawing.name] = why_not(error)
            else:
                as_png[drawing.name] = beside.submit(encoded, pixels)
    for name, future in as_png.items():
        try:
            made[f"{name}.png"] = future.result()
        except Exception as error:
            made.missing[name] = why_not(error)
    made.update({f"{name}.svg": content for name, content in as_svg.items() if name not in made.missing})
    return made


@contextmanager
def _few_collections() -> Iterator[None]:
    """Figures are cyclic garbage: what was there before them is not searched each time that it is collected."""
    if gc.get_freeze_count():  # whoever froze will thaw
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _made(draw: Callable[[str], Drawing], name: str) -> Drawing:
    """The drawing, or, where already its words fail, one that fails to be painted."""
    try:
        return draw(name)
    except Exception as error:
        return Drawing(name, name, "", "", partial(_fails, error))


def _fails(error: Exception) -> Figure:
    raise error


def _named(kind: str, family: Family) -> str:
    return f"{kind}-{family.key.slug}" if family.key.slug else kind
