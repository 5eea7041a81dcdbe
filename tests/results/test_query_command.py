"""`grok-sweeps query` prints what a program can read."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from results_rows import full_row, grokked, store_of

from grok_sweeps.cluster.cli.app import main

QUERY = "SELECT run_id, outcome, grokked_step, tau FROM runs ORDER BY run_id"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store_of(tmp_path, grokked("a", 100, tau=1.3), full_row("b", tau=1.5))
    return tmp_path


def _query(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["grok-sweeps", "query", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code


def test_csv_is_read_back(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _query(monkeypatch, QUERY, "--store", str(folder), "--format", "csv") == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(frame.columns) == ["run_id", "outcome", "grokked_step", "tau"]
    assert frame.run_id.tolist() == ["a", "b"]
    assert frame.grokked_step.isna().tolist() == [False, True]
    assert frame.tau.tolist() == [1.3, 1.5]


def test_json_is_read_back(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _query(monkeypatch, QUERY, "--store", str(folder), "-f", "json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {"run_id": "a", "outcome": "grokked", "grokked_step": 100, "tau": 1.3},
        {"run_id": "b", "outcome": "censored", "grokked_step": None, "tau": 1.5},
    ]


def test_a_table_shows_every_row_and_a_dash_for_null(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _query(monkeypatch, QUERY, "--store", str(folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    (a,) = [line for line in lines if "grokked " in line and "run_id" not in line]
    (b,) = [line for line in lines if "censored" in line]
    assert ("100" in a, "1.3" in a, "—" in b) == (True, True, True)
    assert "2 rows" in lines[-1]


def test_a_bad_query_is_one_error_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _query(monkeypatch, "SELECT nothing FROM runs", "--store", str(folder)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: query: ")
    assert err.count("\n") == 1
