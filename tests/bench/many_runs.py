"""A store with as many finished runs as asked for, made column by column: no run was trained for it.

Files are as workers write them, with every column of the schema, 1,000 runs each and as many points a run as are asked
for. Readings are noise of float32 in float64 columns, which is what training gives and what compresses least.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from grok_sweeps.plan import make_plan
from grok_sweeps.schema import CONFIG, CURVE_COLUMNS, CURVES_SCHEMA, RUN_COLUMNS, RUNS_SCHEMA, Column
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore
from grok_sweeps.store.compact import compact, is_compact
from grok_sweeps.store.segments import Segments
from grok_sweeps.store.tables import encode_table

SWEEP = "many"
RUNS_A_FILE = 1_000
SEEDS = 12
RUNS_AN_ATTEMPT, RUNS_A_WRITE, POINTS_OF_SHORT = 10, 4, 40
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_POOL = 1 << 22
"""Noise that the readings are cut from: drawing all of it anew takes as long as encoding it."""


def run_id_of(k: int) -> str:
    """The id of run `k`, a hash as real ones are."""
    return hashlib.sha256(str(k).encode()).hexdigest()[:16]


def fill(objects: ObjectStore, n_runs: int, n_points: int, runs_a_file: int = RUNS_A_FILE) -> SweepStore:
    """Write the sweep `many`: `n_runs` runs with `n_points` points of curves in all, of which one half is compacted.

    So a driver leaves it under way, which compacts when 500 files are new.
    """
    text = f"name: {SWEEP}\nruns: {{p: 5, seeds: {SEEDS}}}\n"
    sweep = SweepStore(objects, SWEEP)
    sweep.create(text, make_plan(parse_spec(text)))
    noise = np.random.default_rng(0).random(_POOL, dtype=np.float32).astype(np.float64)
    for k, (first, rows, curves) in enumerate(_files(n_runs, n_points // n_runs, runs_a_file, noise)):
        attempt = _attempt(first)
        objects.put(sweep.layout.curve_file("0123456789abcdef", attempt, 1), encode_table(curves))
        objects.put(sweep.layout.row_file("0123456789abcdef", attempt, 1), encode_table(rows))
        if k + 1 == n_runs // runs_a_file // 2:
            compact_all(sweep)
    return sweep


def compact_all(sweep: SweepStore) -> None:
    """Compact, and delete what that stands for, as the next compaction does once every reader knows."""
    folders = (sweep.layout.rows, sweep.layout.curves) if compact(sweep).files_before else ()
    for folder in folders:
        for info in list(sweep.objects.list(folder)):
            if not is_compact(info.name):
                sweep.objects.delete(info.name)


def add_attempts(sweep: SweepStore, n_runs: int) -> int:
    """Write runs as attempts of ten leave them, which write whenever four have ended; return how many files of rows."""
    noise = np.random.default_rng(1).random(1 << 12)
    for first, rows, curves in _files(n_runs, POINTS_OF_SHORT, RUNS_AN_ATTEMPT, noise):
        segments, given = Segments(sweep, "fedcba9876543210", _attempt(first)), rows.to_pylist()
        for k in range(0, len(given), RUNS_A_WRITE):
            readings = curves.slice(k * POINTS_OF_SHORT, RUNS_A_WRITE * POINTS_OF_SHORT)
            segments.write(given[k : k + RUNS_A_WRITE], [readings], last=k + RUNS_A_WRITE >= len(given))
    return len(list(sweep.objects.list(sweep.layout.rows)))


def _files(
    n_runs: int, points: int, runs_a_file: int, noise: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Iterator[tuple[int, pa.Table, pa.Table]]:
    for first in range(0, n_runs, runs_a_file):
        k = np.arange(first, min(first + runs_a_file, n_runs))
        ids = pa.array([run_id_of(int(i)) for i in k])
        own = {
            "run_id": ids,
            "cell_id": pa.array([f"{int(i) // SEEDS:016x}" for i in k]),
            "seed": pa.array(k % SEEDS),
            "rho": pa.array(np.round(1 + 0.01 * (k // SEEDS % 40), 2)),
            "tau": pa.array(np.round(1 + 0.05 * (k // (SEEDS * 40) % 40), 2)),
            "outcome": pa.array(np.where(k % 50 == 0, "censored", "grokked").astype(object), pa.string()),
            "grokked_step": pa.array(2_000 + k * 7_919 % 40_000, mask=k % 50 == 0),
            "attempt": pa.array([_attempt(first)] * len(k)),
        }
        rows = pa.table([own.get(c.name, _constant(c, len(k), noise, first)) for c in RUN_COLUMNS], schema=RUNS_SCHEMA)
        yield first, rows, _curves(ids, points, first, noise)


def _curves(ids: pa.Array, points: int, first: int, noise: np.ndarray[tuple[int], np.dtype[np.float64]]) -> pa.Table:
    n = len(ids) * points
    own = {
        "run_id": ids.take(pa.array(np.repeat(np.arange(len(ids)), points))),
        "attempt": pa.repeat(_attempt(first), n),
        "step": pa.array(np.tile(25 * np.arange(points), len(ids))),
    }
    columns = [own.get(c.name, _constant(c, n, noise, first + 37 * place)) for place, c in enumerate(CURVE_COLUMNS)]
    return pa.table(columns, schema=CURVES_SCHEMA)


def _constant(column: Column, n: int, noise: np.ndarray[tuple[int], np.dtype[np.float64]], place: int) -> pa.Array:
    """What a column holds that the bench does not ask for: noise in floats, one value elsewhere."""
    if pa.types.is_floating(column.dtype) and column not in CONFIG:
        start = place * 131_071 % len(noise)
        return pa.array(noise[np.arange(start, start + n) % len(noise)])
    value = {pa.string(): SWEEP if column.name == "sweep" else "x", pa.int64(): 1, pa.bool_(): False, pa.float64(): 1.0}
    return pa.repeat(pa.scalar(value.get(column.dtype, NOON), column.dtype), n)


def _attempt(first: int) -> str:
    return f"{first:08x}"
