"""grok-sweeps: sweeps of grokking experiments, from a spec to one results table.

    import grok_sweeps as gs

    store = gs.open_store("./sweeps")
    store.runs()                                   # pandas, one row a finished run
    store.sql("SELECT rho, tau, median(grokked_step) FROM runs GROUP BY ALL")

The names here load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grok_sweeps.errors import GrokSweepsError
    from grok_sweeps.plan import make_plan
    from grok_sweeps.results import Store, open_store
    from grok_sweeps.spec import load_spec, parse_spec

_HOME = {
    "GrokSweepsError": "grok_sweeps.errors",
    "Store": "grok_sweeps.results",
    "load_spec": "grok_sweeps.spec",
    "make_plan": "grok_sweeps.plan",
    "open_store": "grok_sweeps.results",
    "parse_spec": "grok_sweeps.spec",
}

__all__ = ["GrokSweepsError", "Store", "load_spec", "make_plan", "open_store", "parse_spec"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'grok_sweeps' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
