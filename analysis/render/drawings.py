"""All figures of an analysis: one set a family, named for the files that they become."""

from __future__ import annotations

from analysis.render.accuracy import accuracy
from analysis.render.canvas import Drawing, png, svg, words
from analysis.render.collapse_plot import collapse_plot
from analysis.render.heatmap import heatmap
from analysis.result import Analysis, Family

NAMES = ("heatmap", "collapse", "accuracy")


def drawings(a: Analysis) -> tuple[tuple[Drawing, ...], ...]:
    """Heat map, collapse and accuracy curves of each family; one set that says why where there is no family."""
    if not a.families:
        why = f"the results table has no run of sweep {a.sweep!r}."
        return (tuple(Drawing(name, name.capitalize(), why, why, lambda: words(why)) for name in NAMES),)
    return tuple(_set(family) for family in a.families)


def figures(a: Analysis) -> dict[str, bytes]:
    """Bytes by file name, PNG at 200 dpi and SVG: `heatmap.png`, or `heatmap-p59.png` where families differ."""
    files: dict[str, bytes] = {}
    for drawing in (d for family in drawings(a) for d in family):
        files[f"{drawing.name}.png"] = png(drawing)
        files[f"{drawing.name}.svg"] = svg(drawing)
    return files


def _set(family: Family) -> tuple[Drawing, ...]:
    name = {n: f"{n}-{family.key.slug}" if family.key.slug else n for n in NAMES}
    return (
        heatmap(family, name["heatmap"]),
        collapse_plot(family, name["collapse"]),
        accuracy(family, name["accuracy"]),
    )
