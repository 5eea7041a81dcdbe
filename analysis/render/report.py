"""One self-contained HTML file: pictures inside, no scripts, nothing fetched, readable on paper and in the dark."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from analysis.collapse import CAVEAT
from analysis.render import numbers
from analysis.render.canvas import Drawing, svg
from analysis.render.drawings import drawings
from analysis.result import SOURCE, Analysis


def report_html(a: Analysis, *, figures: Mapping[str, bytes] | None = None) -> str:
    """The report as one HTML document; `figures` are those of the same analysis, painted anew where not given."""

    def picture(drawing: Drawing) -> str:
        painted = (figures or {}).get(f"{drawing.name}.svg") or svg(drawing)
        return "data:image/svg+xml;base64," + b64encode(painted).decode("ascii")

    environment = Environment(
        loader=PackageLoader("analysis.render", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sets = drawings(a)
    return environment.get_template("report.html").render(
        a=a,
        source=SOURCE,
        caveat=CAVEAT,
        numbers=numbers,
        picture=picture,
        drawn=sets,
        families=tuple(zip(a.families, sets, strict=False)),
    )
