"""Estimates on the results table, and their rendering.

`analyze` is pure and reads plain pandas tables of the documented schema; `grok_sweeps.analysis.render` turns its result
into JSON, figures, a report and terminal tables. Nothing here imports torch or Ray, and importing it has no side
effects.
"""

from grok_sweeps.analysis.entry import analyze
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.result import Analysis, Family

__all__ = ["Analysis", "Estimate", "Family", "analyze"]

if __name__ == "analysis":
    from grok_sweeps.bare_names import give_bare_name

    give_bare_name(__name__)
