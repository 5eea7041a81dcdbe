"""Resolve a control: the norm w_c at which its runs grok, and each layer's share of it.

w_c is the median over the control's runs of each run's own weight norm at its own grokking step (protocol, Weight norm
and arms). A control that grokked in less than a majority of its runs has no such number, and none is invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.errors import CalibrationError


def resolve_control(
    control_id: str, run_ids: Sequence[str], rows: Mapping[str, Mapping[str, Any]], n_waiting: int = 0
) -> dict[str, Any]:
    """Resolve one control from the finished rows of its runs; `n_waiting` runs need it.

    Returns:
        w_c, the shares of the norm of the architecture's layers (their squares sum to 1; none where the rows lack a
        layer's norm), and the counts behind them.

    Raises:
        CalibrationError: half of the runs or more did not grok.
    """
    known = [rows[r] for r in run_ids if r in rows]
    grokked = [row for row in known if row["outcome"] == "grokked"]
    if 2 * len(grokked) <= len(run_ids):
        horizon = max((max(row["max_steps"], row["steps_run"]) for row in known), default=0)
        p = known[0]["p"] if known else "?"
        failed = [row for row in known if row["outcome"] == "failed"]
        also = f" {len(failed)} failed ({failed[0]['error']}): `resume --failed` trains them again." if failed else ""
        raise CalibrationError(
            f"w_c: control {control_id} (p = {p}) grokked in {len(grokked)} of {len(run_ids)} runs within max_steps = "
            f"{horizon}, and w_c is the median of a majority; {n_waiting:,} runs wait for it. To go on, train "
            f"them on with `resume --max-steps N`, or pin w_c as a number.{also}"
        )
    return {
        "w_c": median(row["weight_norm_at_grok"] for row in grokked),
        **_shares(grokked),
        "n_runs": len(run_ids),
        "n_grokked": len(grokked),
        "run_ids": sorted(run_ids),
    }


def _shares(grokked: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Median share of each layer, by `share_<layer>`; of all layers or, where a norm is not read, of none."""
    columns = {layer: f"norm_{layer}_at_grok" for layer in ARCHITECTURES[grokked[0]["arch"]].layers}
    if any(row.get(column) is None for row in grokked for column in columns.values()):
        return {}
    shares = {
        f"share_{layer}": median(row[column] / row["weight_norm_at_grok"] for row in grokked)
        for layer, column in columns.items()
    }
    scale = sum(v * v for v in shares.values()) ** 0.5
    return {name: value / scale for name, value in shares.items()}
