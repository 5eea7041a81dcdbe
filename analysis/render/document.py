"""The estimates as JSON, for programs: every number with its interval, method, counts and reasons; never NaN."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from analysis.cells import Cell
from analysis.collapse import CAVEAT
from analysis.estimate import Estimate
from analysis.result import SOURCE, Analysis, Family

FORMAT = 1


def estimates_json(a: Analysis) -> str:
    """Valid JSON (no NaN, no Infinity) with sweep, counts, notes, versions and families of cells and estimates."""
    document = {
        "format": FORMAT,
        "sweep": a.sweep,
        "source": SOURCE,
        "counts": {**asdict(a.counts), "n_missing": a.counts.n_missing},
        "resampling": {"kind": "percentile bootstrap over seeds", "resamples": a.resamples, "seed": a.seed},
        "versions": dict(a.versions),
        "notes": list(a.notes),
        "families": [_family(f) for f in a.families],
    }
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _family(family: Family) -> dict[str, Any]:
    return {
        "title": family.key.title,
        "config": dict(family.key.config),
        "collapse": {
            "caveat": CAVEAT,
            "cells": [c.cell_id for c in family.collapse.cells],
            "estimates": [_estimate(e) for e in family.collapse.estimates],
        },
        "recovery": _estimate(family.recovery),
        "cells": [_cell(c) for c in family.cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    counts = ("n_runs", "n_grokked", "n_censored", "n_diverged", "n_failed")
    return {
        "cell_id": cell.cell_id,
        "arm": cell.arm,
        "gamma": cell.gamma,
        "rho": cell.rho,
        "tau": cell.tau,
        "horizon_steps": cell.horizon_steps,
        **{name: getattr(cell, name) for name in counts},
        "superseded": cell.superseded or None,
        "grokked_step_spread": asdict(cell.spread),
        "estimates": [_estimate(e) for e in (cell.grokked_step, cell.memorized_step, cell.delay, cell.logit_scale)],
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return asdict(estimate)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
