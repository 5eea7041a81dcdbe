"""The estimates as JSON, for programs: every number with its interval, method, counts and reasons; never NaN."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from grok_sweeps.analysis.claims import Claim, Claims
from grok_sweeps.analysis.estimate import Estimate
from grok_sweeps.analysis.estimators.mediation import MediationFit
from grok_sweeps.analysis.result import SOURCE, Analysis, Family
from grok_sweeps.analysis.section import Section
from grok_sweeps.analysis.sections import comparison_section, family_sections
from grok_sweeps.analysis.table.cells import Cell

FORMAT = 2
"""2: families have `sections` in place of `collapse` and `recovery`; `comparisons` and `claims` are new."""


def estimates_json(a: Analysis) -> str:
    """Valid JSON (no NaN, no Infinity): counts, families of cells and sections, comparisons, claims, versions."""
    document = {
        "format": FORMAT,
        "sweep": a.sweep,
        "source": SOURCE,
        "counts": {**asdict(a.counts), "n_missing": a.counts.n_missing},
        "resampling": {"unit": "seed", "resamples": a.resamples, "seed": a.seed},
        "versions": dict(a.versions),
        "notes": list(a.notes),
        "families": [_family(f) for f in a.families],
        "comparisons": [
            {"families": [key.title for key in c.families], **_section(comparison_section(c))} for c in a.comparisons
        ],
        "claims": _claims(a.claims),
    }
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _family(family: Family) -> dict[str, Any]:
    return {
        "title": family.key.title,
        "config": dict(family.key.config),
        "cells": [_cell(c) for c in family.cells],
        "sections": [_section(s) for s in family_sections(family)],
        "mediation_sensitivity": [_sensitivity(fit) for fit in (family.mediation.paper, family.mediation.runs)],
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "question": section.question,
        "caveat": section.caveat or None,
        "missing": section.missing or None,
        "headline": list(section.headline),
        "conventions": [asdict(row) for row in section.compared],
        "groups": [asdict(group) for group in section.groups],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    counts = ("n_runs", "n_grokked", "n_censored", "n_diverged", "n_failed")
    return {
        "cell_id": cell.cell_id,
        "arm": cell.arm,
        "gamma": cell.gamma,
        "rho": cell.rho,
        "tau": cell.tau,
        "w_c": cell.w_c,
        "fork_step": cell.fork_step,
        "horizon_steps": cell.horizon_steps,
        **{name: getattr(cell, name) for name in counts},
        "superseded": cell.superseded or None,
        "grokked_step_spread": asdict(cell.spread),
        "logged_step": cell.logged_step,
        "estimates": [_estimate(e) for e in cell.estimates],
    }


def _sensitivity(fit: MediationFit) -> dict[str, Any]:
    return {
        "convention": fit.convention,
        "on_x_alone": [asdict(point) for point in fit.curve],
        "given_tau": [asdict(point) for point in fit.curve_given_tau],
    }


def _claims(claims: Claims) -> dict[str, Any]:
    return {"rule": claims.rule, "n_printed": claims.n_printed, "rows": [_claim(c) for c in claims.rows]}


def _claim(claim: Claim) -> dict[str, Any]:
    printed = claim.printed
    return {
        **asdict(printed),
        "value": printed.value,
        "ours": _estimate(claim.ours),
        "w_c_of_ours": claim.w_c,
        "verdict_on_its_runs": claim.verdict_on_its_runs or None,
        "verdict": claim.verdict,
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return asdict(estimate)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
