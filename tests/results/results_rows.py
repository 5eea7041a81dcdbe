"""Full rows and curves for a store, and a store to put them into; no training."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from grok_sweeps.plan import make_plan
from grok_sweeps.results import Store
from grok_sweeps.schema import CURVES_SCHEMA, READING_NAMES, RUN_COLUMNS
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from tests.written import write_results

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = "name: {name}\nruns: {{p: 5, seeds: 4}}\n"

Row = dict[str, Any]


def full_row(run_id: str, **values: Any) -> Row:
    """A row with a value in every column that is never null."""
    never_null: dict[Any, Any] = {pa.string(): "x", pa.int64(): 1, pa.float64(): 1.0, pa.bool_(): False}
    row = {c.name: None if c.null else never_null.get(c.dtype, NOON) for c in RUN_COLUMNS}
    return {**row, "sweep": "made", "run_id": run_id, "cell_id": "c", "outcome": "censored", "attempt": "a1", **values}


def grokked(run_id: str, step: int, **values: Any) -> Row:
    """A run that grokked at `step`, 100 steps after it had memorised."""
    at_grok = {"grokked_step": step, "memorized_step": step - 100, "delay": 100, "steps_run": step}
    return full_row(run_id, outcome="grokked", **{**at_grok, **values})


def curve(run_id: str, steps: Iterable[int], attempt: str = "a1", sweep: str = "made") -> pa.Table:
    """Readings of a run, each the step itself."""
    ids = {"sweep": sweep, "run_id": run_id, "attempt": attempt}
    rows = [{**ids, "step": step, **dict.fromkeys(READING_NAMES, float(step))} for step in steps]
    return pa.Table.from_pylist(rows, schema=CURVES_SCHEMA)


def new_sweep(folder: Path | ObjectStore, name: str = "made") -> SweepStore:
    """A submitted sweep of four runs."""
    text = SPEC.format(name=name)
    sweep = SweepStore(open_objects(str(folder)) if isinstance(folder, Path) else folder, name)
    sweep.create(text, make_plan(parse_spec(text)))
    return sweep


def store_of(folder: Path, *rows: Row) -> Store:
    """A store whose sweep `made` holds `rows`."""
    sweep = new_sweep(folder)
    write_results(sweep, "pack", "a1", 1, rows, [CURVES_SCHEMA.empty_table()])
    return Store(sweep.objects)
