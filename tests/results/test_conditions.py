"""Rows by condition: values are bound, names are checked, and nothing that is passed becomes SQL by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from results_rows import curve, full_row, grokked, new_sweep

from grok_sweeps.errors import QueryError
from grok_sweeps.results import Store
from tests.written import write_results

HOSTILE = "x'; DROP TABLE grok_sweeps.keys; --"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    sweep = new_sweep(tmp_path)
    rows = [
        grokked("a", 100, cell_id="c1", rho=1.0, tau=1.3, arm="clamp"),
        grokked("b", 200, cell_id="c2", rho=1.1, tau=1.3, arm="clamp"),
        grokked("c", 300, cell_id="c3", rho=1.2, tau=1.0, arm="clamp", host=HOSTILE),
        full_row("d", cell_id="c4", arm="free", tau=1.0),
    ]
    write_results(sweep, "pack", "a1", 1, rows, [curve(row["run_id"], [1, 25, 50]) for row in rows])
    return Store(sweep.objects)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"where": "rho > ?", "params": [1.0]}, ["b", "c"]),
        ({"where": "rho > $least", "params": {"least": 1.0}, "tau": 1.3}, ["b"]),
        ({"where": "grokked_step < 250 OR rho IS NULL", "arm": "clamp"}, ["a", "b"]),
        ({"where": "rho > ? -- and a comment", "params": [1.0], "tau": 1.0}, ["c"]),
        ({"tau": [1.0, 1.3], "arm": "clamp"}, ["a", "b", "c"]),
        ({"rho": None}, ["d"]),
        ({"tau": []}, []),
        ({"host": HOSTILE}, ["c"]),
        ({"where": "host = ?", "params": [HOSTILE]}, ["c"]),
        ({"sweep": "made", "outcome": "censored"}, ["d"]),
    ],
)
def test_runs_are_found_by_condition_and_by_value(asked: dict[str, Any], found: list[str], store: Store) -> None:
    assert sorted(store.runs(**asked).run_id) == found
    if asked.keys() <= {"tau", "arm", "rho"}:
        assert len(store.cells(**asked)) == len(found)
    assert len(store.runs()) == 4


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"where": "1) OR (1=1"}, "not a condition"),
        ({"where": "true; DROP VIEW runs"}, "not a condition"),
        ({"where": "true UNION SELECT 1"}, "not a condition"),
        ({"where": ""}, "not a condition"),
        ({"where": "rh0 > 1"}, "rh0"),
        ({"where": "rho > ?"}, "parameters"),
        ({"rh0": 1.0}, "no column 'rh0'. Did you mean 'rho'?"),
        ({'rho" = 1 OR "rho': 1.0}, "no column"),
    ],
)
def test_a_condition_that_is_none_is_one_line(asked: dict[str, Any], words: str, store: Store) -> None:
    with pytest.raises(QueryError) as caught:
        store.runs(**asked)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(store.runs()) == 4


def test_curves_of_some_runs_and_columns(store: Store) -> None:
    some = store.curves(run_ids=["c", "a", "nowhere", "a"], columns=["logit_scale"])
    assert list(some.columns) == ["run_id", "step", "logit_scale"]
    assert some.run_id.tolist() == ["a"] * 3 + ["c"] * 3
    assert some.step.tolist() == [1, 25, 50] * 2
    with pytest.raises(QueryError, match="Did you mean 'logit_scale'"):
        store.curves(columns=["logit_scal"])
    with pytest.raises(QueryError, match="run_ids=\\["):
        store.curves(["a", "c"])  # type: ignore[arg-type]


def test_one_answer_in_three_forms(store: Store) -> None:
    query, params = "SELECT run_id, rho FROM runs WHERE tau = $tau ORDER BY run_id", {"tau": 1.3}
    frame, table, relation = (ask(query, params) for ask in (store.sql, store.arrow, store.relation))
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(table, pa.Table)
    assert isinstance(relation, duckdb.DuckDBPyRelation)
    assert frame.to_dict("records") == table.to_pylist() == relation.to_arrow_table().to_pylist()
    assert store.relation("FROM runs").filter("rho > 1.0").aggregate("count(*)").fetchall() == [(2,)]


def test_a_notebook_shows_the_sweeps(store: Store, tmp_path: Path) -> None:
    shown = store._repr_html_()
    assert "<td>made</td>" in shown
    assert "runs_finished" in shown
    assert store.uri in shown


def test_one_query_is_of_all_sweeps(store: Store) -> None:
    other = new_sweep(Path(store.uri), "other")
    write_results(other, "pack", "a1", 1, [grokked("e", 50, sweep="other")], [curve("e", [1], sweep="other")])
    counts = store.sql("SELECT sweep, count(*) AS n FROM runs GROUP BY ALL ORDER BY ALL")
    assert counts.to_numpy().tolist() == [["made", 4], ["other", 1]]
    assert store.curves(run_ids=["a", "e"]).run_id.tolist() == ["a", "a", "a", "e"]
    assert store.cells(where="n_runs > 0", sweep="other").sweep.tolist() == ["other"]
