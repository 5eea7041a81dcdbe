"""The views runs, cells, curves and sweeps over rows that tests wrote."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from results_rows import NOON, curve, full_row, grokked, new_sweep, store_of

from grok_sweeps.errors import QueryError
from grok_sweeps.results import Store, open_store
from grok_sweeps.schema import CURVE_COLUMNS, CURVES_SCHEMA, RUN_COLUMNS, RUNS_SCHEMA
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.tables import decode_table, encode_table
from tests.written import write_results

CENSORED = {"outcome": "censored", "memorized_step": 50, "steps_run": 1000}


@pytest.mark.parametrize(
    ("steps", "n_censored", "median"),
    [
        ([100, 300, 200], 0, 200.0),
        ([100, 200, 300, 400], 0, 250.0),
        ([100, 300], 1, 300.0),
        ([100, 200, 300], 1, 250.0),
        ([100], 1, None),
        ([100, 200], 2, None),
        ([100], 2, None),
        ([], 3, None),
    ],
)
def test_a_cells_median_counts_a_censored_run_as_later_than_any_number(
    steps: list[int], n_censored: int, median: float | None, tmp_path: Path
) -> None:
    rows = [grokked(f"g{k}", step) for k, step in enumerate(steps)]
    cells = store_of(tmp_path, *rows, *(full_row(f"c{k}", **CENSORED) for k in range(n_censored))).cells()
    assert len(cells) == 1
    cell = cells.iloc[0]
    assert (cell.n_runs, cell.n_grokked, cell.n_censored) == (len(steps) + n_censored, len(steps), n_censored)
    assert pd.isna(cell.median_grokked_step) if median is None else cell.median_grokked_step == median


def test_a_failed_run_is_counted_and_left_out_of_the_median(tmp_path: Path) -> None:
    rows = [grokked("g0", 100), *(full_row(f"f{k}", outcome="failed", error="killed") for k in range(3))]
    cell = store_of(tmp_path, *rows).cells().iloc[0]
    assert (cell.n_runs, cell.n_failed) == (4, 3)
    assert (cell.median_grokked_step, cell.median_memorized_step) == (100.0, 0.0)


def test_a_diverged_run_never_grokked(tmp_path: Path) -> None:
    cell = store_of(tmp_path, grokked("g0", 100), full_row("d0", outcome="diverged", error="nan")).cells().iloc[0]
    assert cell.n_diverged == 1
    assert pd.isna(cell.median_grokked_step)


def test_cells_are_apart_by_sweep_and_config(tmp_path: Path) -> None:
    rows = [grokked("g0", 100, cell_id="c1", rho=1.0), grokked("g1", 300, cell_id="c2", rho=1.1)]
    cells = store_of(tmp_path, *rows).cells()
    assert dict(zip(cells.rho, cells.median_grokked_step, strict=True)) == {1.0: 100.0, 1.1: 300.0}


def test_an_empty_store_gives_empty_frames_with_all_columns(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "nowhere"))
    assert list(store.runs().columns) == [c.name for c in RUN_COLUMNS]
    assert list(store.curves().columns) == [c.name for c in CURVE_COLUMNS]
    assert {"cell_id", "n_runs", "median_grokked_step"} <= set(store.cells().columns)
    assert {"sweep", "runs_planned", "runs_finished"} <= set(store.sweeps().columns)
    assert [len(f) for f in (store.runs(), store.curves(), store.cells(), store.sweeps())] == [0, 0, 0, 0]
    assert not (tmp_path / "nowhere").exists()


def test_a_run_with_two_rows_is_one_and_its_curve_is_the_winners(tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path)
    for attempt, steps, hours in (("a1", 200, 2), ("a2", 200, 1), ("a3", 100, 0)):
        row = grokked("r", 100, attempt=attempt, steps_run=steps, finished_at=NOON + timedelta(hours=hours))
        write_results(sweep, "pack", attempt, 1, [row], [curve("r", [1, 25], attempt)])
    log = RowLog(sweep)
    log.refresh()
    store = Store(sweep.objects)
    assert store.runs().attempt.tolist() == ["a2"] == [log.rows["r"]["attempt"]]
    assert store.curves()[["attempt", "step"]].to_numpy().tolist() == [["a2", 1], ["a2", 25]]


def test_a_row_that_failed_gives_way_to_one_that_did_not(tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path)
    failed = full_row("r", outcome="failed", attempt="a1", steps_run=900, error="no")
    for attempt, row in (("a1", failed), ("a2", grokked("r", 100, attempt="a2", steps_run=100))):
        write_results(sweep, "pack", attempt, 1, [row], [curve("r", [1], attempt)])
    log = RowLog(sweep)
    log.refresh()
    assert Store(sweep.objects).runs().attempt.tolist() == ["a2"] == [log.rows["r"]["attempt"]]


def test_sweeps_are_kept_apart_and_summed_up(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rows = [grokked("r", 100, sweep=name, steps_run=500, attempt=f"of{name}")]
        curves = [curve("r", [1], f"of{name}", sweep=name)]
        write_results(new_sweep(tmp_path, name), "pack", f"of{name}", 1, rows, curves)
    new_sweep(tmp_path, "three")
    store = open_store(str(tmp_path))
    assert store.runs("one").sweep.tolist() == ["one"]
    assert store.curves("two", ["r", "other"]).sweep.tolist() == ["two"]
    assert len(store.curves(run_ids=[])) == 0
    summary = store.sweeps()[["sweep", "runs_planned", "runs_finished", "runs_grokked", "run_steps"]]
    assert summary.to_numpy().tolist() == [["one", 4, 1, 1, 500], ["three", 4, 0, 0, 0], ["two", 4, 1, 1, 500]]


def test_a_file_of_an_older_version_reads_with_nulls(tmp_path: Path) -> None:
    store = store_of(tmp_path, grokked("new", 200, p=59))
    older = decode_table(store.objects.get("made/rows/pack-a1-000001.parquet") or b"", "x").drop_columns(
        ["delay", "host"]
    )
    older = older.set_column(older.schema.get_field_index("run_id"), RUNS_SCHEMA.field("run_id"), [["old"]])
    store.objects.put("made/rows/older.parquet", encode_table(older))
    runs = store.runs().set_index("run_id")
    assert runs.loc["old", "grokked_step"] == 200
    assert runs.loc[["old", "new"], "delay"].isna().tolist() == [True, False]
    assert list(store.runs().columns) == [c.name for c in RUN_COLUMNS]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELEC * FROM runs", "syntax error"),
        ("SELECT grokd_step FROM runs", "grokked_step"),
        ("SELECT * FROM rans", "runs"),
        ("SELECT 'a'::INT", "Could not convert"),
        ("   ", "write SELECT"),
        ("-- a comment", "write SELECT"),
    ],
)
def test_a_query_that_cannot_be_answered_is_one_line(query: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError) as caught:
        store_of(tmp_path, grokked("r", 100)).sql(query)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_arrow_and_pandas_answer_alike(tmp_path: Path) -> None:
    store = store_of(tmp_path, grokked("r", 100))
    query = "SELECT run_id, grokked_step FROM runs"
    assert (
        store.arrow(query).to_pylist() == store.sql(query).to_dict("records") == [{"run_id": "r", "grokked_step": 100}]
    )


@pytest.mark.parametrize(("name", "words"), [("mad", "Did you mean 'made'"), ("../made", "Sweeps there: made")])
def test_an_unknown_sweep_is_put_right(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=words):
        store_of(tmp_path).runs(name)


def test_an_unknown_sweep_of_an_empty_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="holds no sweep yet"):
        open_store(str(tmp_path)).runs("made")


def test_times_are_utc_wherever_the_reader_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    store = store_of(tmp_path, grokked("r", 100))
    assert store.sql("SELECT finished_at::VARCHAR AS text FROM runs").text.tolist() == ["2026-01-01 12:00:00+00"]
    assert store.runs().finished_at.tolist() == [pd.Timestamp(NOON)]


def test_a_sweep_without_curves_reads(tmp_path: Path) -> None:
    assert CURVES_SCHEMA.names == list(store_of(tmp_path, grokked("r", 100)).curves("made").columns)
