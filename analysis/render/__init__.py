"""An analysis as JSON, figures, HTML, Markdown or terminal tables; nothing here computes an estimate.

Matplotlib is used through its objects (`Figure`, `FigureCanvasAgg`): no pyplot, no global state.
"""

from analysis.render.document import estimates_json
from analysis.render.drawings import figures
from analysis.render.report import report_html, report_markdown
from analysis.render.terminal import terminal_tables

__all__ = ["estimates_json", "figures", "report_html", "report_markdown", "terminal_tables"]
