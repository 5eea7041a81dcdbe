"""An analysis as JSON, figures, HTML, Markdown or terminal tables; nothing here computes an estimate.

Matplotlib is used through its objects (`Figure`, `FigureCanvasAgg`): no pyplot, no global state.
"""

from grok_sweeps.analysis.render import backend  # noqa: F401 (imports matplotlib, before another module does)
from grok_sweeps.analysis.render.document import estimates_json
from grok_sweeps.analysis.render.drawings import figures
from grok_sweeps.analysis.render.report import report_html, report_markdown
from grok_sweeps.analysis.render.reproduction import (
    claims_csv,
    claims_json,
    reproduction_html,
    reproduction_markdown,
    summary_table,
    twins_line,
)
from grok_sweeps.analysis.render.terminal import terminal_tables

__all__ = [
    "claims_csv",
    "claims_json",
    "estimates_json",
    "figures",
    "report_html",
    "report_markdown",
    "reproduction_html",
    "reproduction_markdown",
    "summary_table",
    "terminal_tables",
    "twins_line",
]
