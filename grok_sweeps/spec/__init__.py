"""From YAML text to a validated spec: `load_spec` is the only way in."""

from grok_sweeps.spec.load import load_spec, parse_spec, parse_stored_spec, preset_names, with_execution
from grok_sweeps.spec.model import Execution, RunAxes, SweepSpec

__all__ = [
    "Execution",
    "RunAxes",
    "SweepSpec",
    "load_spec",
    "parse_spec",
    "parse_stored_spec",
    "preset_names",
    "with_execution",
]
