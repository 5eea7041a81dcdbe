"""A finished cell of a sweep, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grok_sweeps.config import RunConfig


def describe_cell(config: RunConfig, rows: Sequence[Mapping[str, Any]]) -> str:
    """One line about a finished cell."""
    steps = sorted(row["grokked_step"] for row in rows if row["outcome"] == "grokked")
    where = f"p {config.p} {config.arm}" + (f" rho {config.rho:g}" if config.rho is not None else "")
    where = ", ".join((f"{where} tau {config.tau:g}", *config.differences()))
    span = f", grokked at {steps[0]:,}–{steps[-1]:,}" if steps else ""
    failed = sum(row["outcome"] == "failed" for row in rows)
    return f"cell {where}: {len(steps)} of {len(rows)} grokked{span}" + (f", {failed} failed" if failed else "")
