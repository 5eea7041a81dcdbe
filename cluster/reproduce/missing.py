"""Which runs are behind a printed number, and why some are not there: not asked for, or without a row yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from grok_sweeps.cluster.reproduce.parts import PREFIX, SCALES, Part, serving

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


def tables_of(preset: str) -> tuple[str, ...]:
    """The paper's tables whose numbers are of a preset's runs, in words; of one that resolves its norm the same."""
    if not preset.startswith(PREFIX):
        return ()
    name = preset.removeprefix(PREFIX).removesuffix("-control")
    behind = {table: {of.format(loss=loss) for loss in ("ce", "mse")} for table, of in _EXPERIMENT_OF.items()}
    return ("all",) if name == "all" else tuple(table.replace("_", " ") for table in behind if name in behind[table])


def left_out(parts: Sequence[Part], scale: str) -> str:
    """Why parts were not asked for, in a sentence a reason."""
    by_only = [part for part in parts if part.in_scale(scale)]
    by_scale = [part for part in parts if not part.in_scale(scale)]
    said = [f"--only leaves out {_names(by_only)}"] if by_only else []
    if by_scale:
        larger = max((part.scale for part in by_scale), key=SCALES.index)
        them = "it" if len(by_scale) == 1 else "them"
        said.append(f"scale {scale} leaves out {_names(by_scale)}; scale {larger} trains {them}")
    return "; ".join(said)


def _names(parts: Sequence[Part]) -> str:
    return " and ".join(map(str, parts))


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
        under_way = [part for part in needed if part in asked]
        said = [f"{left[part]} runs of {part} have no row yet" for part in under_way]
        if absent := [part for part in needed if part not in asked]:
            said.append(left_out(absent, scale))
        return Lack("; ".join(said), bool(under_way)) if needed else None

    return lacking
