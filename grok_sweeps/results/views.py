"""The views `runs`, `curves`, `curves_under_way`, `cells` and `sweeps`, as SQL over the store's Parquet files.

`runs` keeps one row a run of a sweep (`winners`), `curves` the readings of exactly the attempt whose row won;
`curves_under_way` those of runs that have no row yet. The name of a sweep is that of its folder: rows of a `renamed`
one, which carry another, are read with the folder's. A cell's median counts a run that did not grok within its budget
as later than every number, so it is null where half of the runs or more are censored; failed runs are left out of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from grok_sweeps.config import ADDED_LATER
from grok_sweeps.results.files import File
from grok_sweeps.schema import CELL_KEYS, CURVE_COLUMNS, MEANS, MEDIANS, OUTCOMES, RUN_COLUMNS, Column

if TYPE_CHECKING:
    from grok_sweeps.results.curve_files import Split

_DUCKDB_TYPES = {
    "string": "VARCHAR",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
}


def empty_view(name: str, columns: tuple[Column, ...]) -> str:
    """SQL of a view without rows: of one that a query does not speak of."""
    return f"CREATE OR REPLACE TEMP VIEW {name} AS {_nothing(columns)}"


def own_runs(files: Sequence[File], renamed: Collection[str], placed: str = "") -> str:
    """SQL of the rows in files, and of those of `placed` that are not in the table `lost`.

    These say from where they are: columns filename and file_row_number, in `lost` path and place.
    """
    columns = ", ".join(_with_default(c) for c in RUN_COLUMNS)
    rows = _filled(files, RUN_COLUMNS, renamed)
    if placed:
        rows += f""" UNION ALL BY NAME SELECT * FROM ({placed})
            ANTI JOIN lost ON path = filename AND place = file_row_number"""
    return f"(SELECT {columns} FROM ({rows}))"


def runs_view(own: str, *, copied: bool) -> str:
    """SQL of the view `runs`: of `own_runs` all but those in the table `copied`, which count in another sweep."""
    but = " ANTI JOIN copied USING (sweep, run_id, attempt)" if copied else ""
    return f"CREATE OR REPLACE TEMP VIEW runs AS SELECT {_names(RUN_COLUMNS)} FROM {own}{but}"


def curves_view(split: Split, renamed: Collection[str] = ()) -> str:
    """SQL of the view `curves`: all readings in whole files, of the others those of rows in the table `winners`."""
    names, won = _names(CURVE_COLUMNS), "SEMI JOIN winners USING (sweep, run_id, attempt)"
    parts = [f"SELECT {names} FROM ({_filled(split.whole, CURVE_COLUMNS, renamed)})"]
    if split.others:
        parts.append(f"SELECT {names} FROM ({_filled(split.others, CURVE_COLUMNS, renamed)}) {won}")
    if split.doubled:
        once = "DISTINCT ON (sweep, run_id, attempt, step)"
        parts.append(f"SELECT {once} {names} FROM ({_filled(split.doubled, CURVE_COLUMNS, renamed)}) {won}")
    return f"CREATE OR REPLACE TEMP VIEW curves AS {' UNION ALL '.join(f'({part})' for part in parts)}"


def curves_under_way_view(files: Sequence[File], own: str, renamed: Collection[str] = ()) -> str:
    """SQL of the view `curves_under_way`: of runs without a row the readings of the attempt that is furthest."""
    readings = f"SELECT {_names(CURVE_COLUMNS)} FROM ({_filled(files, CURVE_COLUMNS, renamed)})"
    return f"""CREATE OR REPLACE TEMP VIEW curves_under_way AS
        WITH readings AS ({readings} ANTI JOIN {own} USING (sweep, run_id)),
             furthest AS (SELECT sweep, run_id, arg_max(attempt, (step, attempt)) AS attempt FROM readings GROUP BY ALL)
        SELECT DISTINCT ON (sweep, run_id, step) * FROM readings SEMI JOIN furthest USING (sweep, run_id, attempt)"""


def cells_query() -> str:
    """SQL of what the view `cells` shows: counts, medians and means of each cell of `runs`."""
    late = "CASE outcome WHEN 'grokked' THEN {0} WHEN 'failed' THEN NULL ELSE 'infinity'::DOUBLE END"
    plain = "CASE WHEN outcome <> 'failed' THEN coalesce({0}::DOUBLE, 'infinity'::DOUBLE) END"
    values = {name: (plain if name == "memorized_step" else late).format(name) for name in MEDIANS}
    medians = ", ".join(
        f"nullif(median({value}), 'infinity'::DOUBLE) AS median_{name}" for name, value in values.items()
    )
    means = ", ".join(f"avg({name}) AS mean_{name}" for name in MEANS)
    counts = ", ".join(f"count(*) FILTER (outcome = '{outcome}') AS n_{outcome}" for outcome in OUTCOMES)
    return f"""SELECT {_names(CELL_KEYS)}, any_value(w_c) AS w_c, any_value(held_norm) AS held_norm,
               count(*) AS n_runs, {counts}, {medians}, {means}
        FROM runs GROUP BY ALL ORDER BY sweep, p, arm, rho, tau"""


def sweeps_view(files: Sequence[File], own: str) -> str:
    """SQL of the view `sweeps` over plan files and `own_runs`: what was planned and how far it is."""
    if files:
        planned = (
            f"SELECT split_part(filename, '/', -2) AS sweep, cell_id FROM ({read_files(files, 'filename = true')})"
        )
    else:
        planned = "SELECT NULL::VARCHAR AS sweep, NULL::VARCHAR AS cell_id WHERE false"
    return f"""CREATE OR REPLACE TEMP VIEW sweeps AS
        WITH planned AS (SELECT sweep, count(*) AS runs_planned, count(DISTINCT cell_id) AS cells_planned
                         FROM ({planned}) GROUP BY sweep),
             finished AS (SELECT sweep, count(*) AS runs_finished,
                                 count(*) FILTER (outcome = 'grokked') AS runs_grokked,
                                 count(*) FILTER (outcome = 'censored') AS runs_censored,
                                 count(*) FILTER (outcome IN ('diverged', 'failed')) AS runs_broken,
                                 sum(steps_run)::BIGINT AS run_steps, sum(wall_s) AS lane_s,
                                 min(started_at) AS started_at, max(finished_at) AS finished_at
                          FROM {own} GROUP BY sweep)
        SELECT sweep, runs_planned, cells_planned, coalesce(runs_finished, 0) AS runs_finished,
               coalesce(runs_grokked, 0) AS runs_grokked, coalesce(runs_censored, 0) AS runs_censored,
               coalesce(runs_broken, 0) AS runs_broken, coalesce(run_steps, 0) AS run_steps, lane_s,
               started_at, finished_at
        FROM planned LEFT JOIN finished USING (sweep) ORDER BY sweep"""


def read_files(files: Sequence[File], options: str = "", renamed: Collection[str] = ()) -> str:
    """SQL that reads files, one scan for those of the same columns: DuckDB then opens no file to learn what it has.

    Those of a `renamed` sweep have one of their own, which gives its name.
    """
    alike: dict[tuple[str, bytes], list[str]] = {}
    for file in files:
        sweep = file.sweep if renamed and file.sweep in renamed else ""
        alike.setdefault((sweep, file.columns), []).append(_literal(file.path))
    scans = [
        f"SELECT *{f' REPLACE ({_literal(sweep)} AS sweep)' if sweep else ''} "
        f"FROM read_parquet([{', '.join(paths)}]{f', {given}' if given else ''})"
        for (sweep, columns), paths in alike.items()
        for given in [", ".join(filter(None, [options, "" if columns else "union_by_name = true"]))]
    ]
    return " UNION ALL BY NAME ".join(scans)


def _filled(files: Sequence[File], columns: tuple[Column, ...], renamed: Collection[str], options: str = "") -> str:
    """SQL that reads files, giving columns that an older version did not write as null."""
    nothing = _nothing(columns)
    return f"{nothing} UNION ALL BY NAME {read_files(files, options, renamed)}" if files else nothing


def _nothing(columns: tuple[Column, ...]) -> str:
    empty = ", ".join(f"NULL::{_DUCKDB_TYPES[str(c.dtype)]} AS {c.name}" for c in columns)
    return f"SELECT {empty} WHERE false"


def _with_default(column: Column) -> str:
    """A column, with the value that a run had before the column existed in place of null."""
    default = ADDED_LATER.get(column.name)
    return column.name if default is None else f"coalesce({column.name}, {_literal(default)}) AS {column.name}"


def _literal(value: str | float | bool) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _names(columns: tuple[Column, ...]) -> str:
    return ", ".join(c.name for c in columns)
