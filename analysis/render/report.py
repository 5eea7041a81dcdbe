"""The report: one self-contained HTML file, and the same as Markdown beside its figures.

HTML: pictures inside, no scripts, nothing fetched, readable on paper and in the dark.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from grok_sweeps.analysis.render import cell_rows, numbers
from grok_sweeps.analysis.render.canvas import Drawing, svg, why_not
from grok_sweeps.analysis.render.drawings import Figures
from grok_sweeps.analysis.render.page import VERDICTS, page_of
from grok_sweeps.analysis.result import SOURCE, Analysis

FIGURES = "figures"
"""Folder of the figures, beside the report."""


Picture = Callable[[Drawing], tuple[str, str]]
"""The address of a figure, or an empty one and why it is not there."""


def report_html(a: Analysis, *, figures: Mapping[str, bytes] | None = None) -> str:
    """The report as one HTML document; `figures` are those of the same analysis, painted anew where not given.

    In place of one that cannot be drawn stands the reason.
    """
    return _report("report.html", a, embedded(figures))


def report_markdown(a: Analysis, *, figures: Mapping[str, bytes] | None = None) -> str:
    """The report as Markdown, with links to the pictures in `figures/`, or the reason why one of `figures` is not."""
    return _report("report.md", a, linked(figures))


def embedded(figures: Mapping[str, bytes] | None) -> Picture:
    """Figures as data of the document itself."""

    def picture(drawing: Drawing) -> tuple[str, str]:
        lack = _lack(figures, drawing)
        if lack:
            return "", lack
        try:
            painted = (figures or {}).get(f"{drawing.name}.svg") or svg(drawing)
        except Exception as error:
            return "", why_not(error)
        return "data:image/svg+xml;base64," + b64encode(painted).decode("ascii"), ""

    return picture


def linked(figures: Mapping[str, bytes] | None) -> Picture:
    """Figures as files in the folder beside the document."""
    return lambda drawing: (f"{FIGURES}/{drawing.name}.svg", _lack(figures, drawing))


def written(template: str, picture: Picture, **values: Any) -> str:
    """A template filled with values; `picture` places the figures."""
    environment = Environment(
        loader=PackageLoader("grok_sweeps.analysis.render", "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _table_cell
    return environment.get_template(template).render(picture=picture, numbers=numbers, source=SOURCE, **values)


def _report(template: str, a: Analysis, picture: Picture) -> str:
    return written(template, picture, a=a, page=page_of(a), cells=cell_rows, verdicts=VERDICTS)


def _lack(figures: Mapping[str, bytes] | None, drawing: Drawing) -> str:
    return figures.missing.get(drawing.name, "") if isinstance(figures, Figures) else ""


def _table_cell(text: object) -> str:
    """Text that cannot end a cell of a Markdown table or begin markup."""
    plain = str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return plain.replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")
