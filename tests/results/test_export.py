"""A table as a file: equal to the table, whole or not there, in bounded pieces, and over nothing that was there."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results_rows import curve, full_row, grokked, new_sweep

from grok_sweeps.cluster.cli.app import main
from grok_sweeps.errors import ExportError
from grok_sweeps.results import Store, export, formats
from tests.written import write_results

READ: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "parquet": lambda path: pq.read_table(path).to_pylist(),
    "arrow": lambda path: pa.ipc.open_file(path).read_all().to_pylist(),
    "jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    "csv": lambda path: pd.read_csv(path, keep_default_na=False).to_dict("records"),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    sweep = new_sweep(tmp_path / "store")
    rows = [
        grokked("a", 100, seed=1, tau=0.1 + 0.2),
        full_row("b", seed=2, host='a, "b"\nc|d'),
        grokked("c", 300, seed=3, logit_scale_at_grok=float("nan")),
    ]
    write_results(sweep, "pack", "a1", 1, rows, [curve(row["run_id"], range(1, 41)) for row in rows])
    return Store(sweep.objects)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int | str | None]:
    def call(*arguments: str) -> int | str | None:
        monkeypatch.setattr(sys, "argv", ["grok-sweeps", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        return exited.value.code

    return call


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("table", ["runs", "curves", "cells"])
def test_a_file_holds_the_table(form: str, table: str, store: Store, tmp_path: Path) -> None:
    expected = store.arrow(f"FROM {table} ORDER BY ALL").to_pylist()
    path = tmp_path / f"out.{form}"
    assert export.export(store, None, table, form, path) == len(expected)
    found = READ[form](path)
    assert len(found) == len(expected)
    assert list(found[0]) == list(expected[0])
    if form in {"parquet", "arrow"} and table == "curves":  # the others hold a NaN, which equals nothing
        assert sorted(found, key=str) == sorted(expected, key=str)
    if table == "runs":
        assert [row["run_id"] for row in found] == ["a", "b", "c"]
        assert found[0]["tau"] == 0.1 + 0.2
        assert found[1]["host"] == 'a, "b"\nc|d'
        assert found[1]["grokked_step"] == ("" if form == "csv" else None)
        assert found[0]["grokked_step"] == ("100" if form == "csv" else 100)
    assert list(tmp_path.glob(".*")) == []


def test_an_exported_column_says_its_unit_and_meaning(store: Store, tmp_path: Path) -> None:
    export.export(store, "made", "curves", "parquet", tmp_path / "c.parquet")
    told = pq.read_schema(tmp_path / "c.parquet").field("turn_angle").metadata
    assert told[b"unit"] == b"rad"
    assert told[b"meaning"].startswith(b"angle between")


def test_large_curves_go_out_in_pieces(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = formats.write_batches

    def counted(form: str, sink: Any, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
        return write(form, sink, schema, (sizes.append(len(b)) or b for b in batches))  # type: ignore[func-returns-value]

    monkeypatch.setattr(export, "write_batches", counted)
    sweep = store.sweep("made")
    for k in range(3):
        steps = range(1, 30_001)
        row = grokked(f"long{k}", 100, attempt=f"long{k}")
        write_results(sweep, "pack", f"long{k}", 1, [row], [curve(f"long{k}", steps, f"long{k}")])
    assert export.export(store, None, "curves", "parquet", tmp_path / "c.parquet") == 90_120
    assert sum(sizes) == 90_120
    assert max(sizes) <= formats.BATCH_ROWS
    frame = pq.read_table(tmp_path / "c.parquet", columns=["run_id", "step"]).to_pandas()
    assert frame.groupby("run_id").step.is_monotonic_increasing.all()
    assert (frame.run_id != frame.run_id.shift()).sum() == 6, "a run's readings stand together"


def test_nothing_is_overwritten_without_force_and_nothing_is_left_of_a_failure(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(ExportError, match=r"out\.csv: is there already; .* --force"):
        export.export(store, None, "runs", "csv", path)
    assert path.read_text() == "mine"

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_batches", full)
    with pytest.raises(ExportError, match="No space left"):
        export.export(store, None, "runs", "csv", path, force=True)
    assert path.read_text() == "mine"
    monkeypatch.undo()
    assert export.export(store, None, "runs", "csv", path, force=True) == 3
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["out.csv"]
    with pytest.raises(ExportError, match="cannot be written"):
        export.export(store, None, "runs", "csv", tmp_path / "nowhere" / "x.csv")
    with pytest.raises(ExportError, match="is a directory"):
        export.export(store, None, "runs", "csv", tmp_path, force=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "--output", "x.csv"], "name a sweep, or give --all"),
        (["export", "made", "--all", "--output", "x.csv"], "name a sweep, or give --all"),
        (["export", "mad", "--output", "x.csv"], "Did you mean 'made'"),
        (["query", "FROM runs", "--param", "rho"], "not NAME=VALUE"),
        (["query", "FROM runs", "--param", "a=1", "--param", "a=2"], "given twice"),
        (["query", "SELECT $a, $b", "--param", "a=1"], "b"),
        (["query", "FROM runs", "--output", "x.csv"], "choose --format"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], words: str, store: Store, call: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments, "--store", store.uri) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1
    assert not Path("x.csv").exists()


def test_the_command_writes_every_sweep(
    store: Store, call: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.parquet"
    assert call("export", "--all", "--output", str(path), "--store", store.uri) == 0
    assert "3 rows of runs" in capsys.readouterr().out
    assert pq.read_table(path).num_rows == 3


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "markdown"])
def test_a_page_of_an_answer_with_bound_values(
    form: str, store: Store, call: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "page"
    query = (
        "SELECT run_id, seed, host, list_value(1, 2) AS two FROM runs WHERE seed >= $least AND arm = $arm ORDER BY seed"
    )
    given = ["--param", "least=1", "--param", "arm=x", "--limit", "1", "--offset", "1", "--output", str(path)]
    assert call("query", query, *given, "--format", form, "--store", store.uri) == 0
    match form:
        case "csv":
            found = pd.read_csv(io.StringIO(path.read_text())).to_dict("records")
        case "json":
            found = json.loads(path.read_text())
        case "parquet":
            found = pq.read_table(path).to_pylist()
        case _:
            head, rule, line = path.read_text().splitlines()
            assert head == "| run_id | seed | host | two |"
            assert rule == "| --- | ---: | --- | --- |"
            assert line == '| b | 2 | a, "b" c\\|d | [1, 2] |'
            return
    assert [(row["run_id"], row["seed"], row["host"]) for row in found] == [("b", 2, 'a, "b"\nc|d')]


def test_a_value_is_never_pasted_into_the_query(
    store: Store, call: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "x' OR '1'='1"
    assert call("query", "SELECT count(*) AS n FROM runs WHERE arm = $arm", "--param", f"arm={hostile}", "-f", "csv",
                "--store", store.uri) == 0  # fmt: skip
    assert capsys.readouterr().out.split() == ['"n"', "0"]
