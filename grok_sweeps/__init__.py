"""grok-sweeps: sweeps of grokking experiments, from a spec to one results table.

    import grok_sweeps as gs

    store = gs.open_store("./sweeps")
    store.runs()                                   # pandas, one row a finished run
    store.sql("SELECT rho, tau, median(grokked_step) FROM runs GROUP BY ALL")
    gs.analyze(store.runs(), store.curves())       # in a notebook: the report

The names here load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if Path(__file__).with_name("cluster").is_file():
    raise ImportError(
        "grok_sweeps/cluster and grok_sweeps/analysis of this checkout are files, and should be symbolic links; run "
        "`git config core.symlinks true && git checkout -- grok_sweeps` in it."
    )
if TYPE_CHECKING:
    from grok_sweeps.analysis import analyze
    from grok_sweeps.errors import GrokSweepsError
    from grok_sweeps.plan import make_plan
    from grok_sweeps.results import Store, open_store
    from grok_sweeps.spec import load_spec, parse_spec

_HOME = {
    "GrokSweepsError": "grok_sweeps.errors",
    "Store": "grok_sweeps.results",
    "analyze": "grok_sweeps.analysis",
    "load_spec": "grok_sweeps.spec",
    "make_plan": "grok_sweeps.plan",
    "open_store": "grok_sweeps.results",
    "parse_spec": "grok_sweeps.spec",
}

__all__ = ["GrokSweepsError", "Store", "analyze", "load_spec", "make_plan", "open_store", "parse_spec"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'grok_sweeps' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
