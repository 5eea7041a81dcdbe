"""Small multiples: which of many things are drawn, and the panels that they are drawn in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grok_sweeps.analysis.render.canvas import blank_figure

PANELS = 6
"""More panels than these are too small to read on a page."""

Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most that many of the items, first and last included, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def step_panels(titles: Sequence[str], y_label: str) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel each, over one axis of steps and one of `y_label`."""
    columns = min(len(titles), 3 if len(titles) != 4 else 2)
    rows = math.ceil(len(titles) / columns)
    figure = blank_figure(max(5.2, 3.1 * columns), 0.9 + 2.35 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(panels.flat):
        if place >= len(titles):
            axes.set_visible(False)
            continue
        axes.set_title(titles[place])
        if place + columns >= len(titles):
            axes.set_xlabel("step (log)")
            axes.tick_params(labelbottom=True)
        if place % columns == 0:
            axes.set_ylabel(y_label)
    return figure, list(panels.flat)[: len(titles)]
