"""Why some of the runs behind a printed number are not there: its parts were not asked for, or have no row yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from grok_sweeps.cluster.reproduce.parts import PREFIX, Part, serving

if TYPE_CHECKING:
    from grok_sweeps.analysis.claims import Printed
    from grok_sweeps.analysis.reproduction import Lack

_EXPERIMENT_OF = {
    "exponential_law": "dose",
    "mediation": "mediation-{loss}",
    "temperature_sweep": "mediation-{loss}",
    "collapse": "collapse",
    "collapse_grid": "collapse",
    "layer_allocation": "allocation",
    "same_state": "same-state",
    "transformer": "transformer",
    "softmax_collapse_audit": "float64-audit",
}
"""The preset behind each of the paper's tables; the calibration is an input."""


def left_out(part: Part, scale: str, asked: Sequence[Part]) -> str:
    """Why a part was not asked for; empty where it was."""
    if part in asked:
        return ""
    if part.in_scale(scale):
        return f"--only leaves out {part}"
    return f"scale {scale} leaves out {part}; scale {part.scale} has it"


def lacks(scale: str, asked: Sequence[Part], left: Mapping[Part, int]) -> Callable[[Printed], Lack | None]:
    """A function that says why runs behind a printed number are not there; it gives None where all are.

    Args:
        scale: the scale that was asked for.
        asked: its parts.
        left: how many runs of each part have no row.
    """
    from grok_sweeps.analysis.reproduction import Lack

    def lacking(printed: Printed) -> Lack | None:
        experiment = _EXPERIMENT_OF.get(printed.table)
        if experiment is None:
            return None
        preset = PREFIX + experiment.format(loss=printed.loss)
        needed = [part for part in serving(preset) if part.p == printed.p and left[part]]
        said = [left_out(part, scale, asked) or f"{left[part]} runs of {part} have no row yet" for part in needed]
        return Lack("; ".join(said), any(part in asked for part in needed)) if needed else None

    return lacking
