"""Every table of the engine's bench on a tiny case, and the processes that measure."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bench.bench import Bench
from tests.bench.effort import Effort
from tests.bench.engine import tables
from tests.bench.machine import Machine
from tests.bench.projection import projection
from tests.bench.tables import Figure, Table
from tests.bench.workers import SpawnedWorkers, WorkerError, Workers

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
NEEDS_NO_MORE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "pydantic", "duckdb", "yaml", "psutil", "pandas", "typer", "rich", "jax"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import tests.bench.engine
"""


def test_every_table_comes_out_whole(tiny: Effort, inline: Workers, tmp_path: Path) -> None:
    found: dict[str, Table] = {t.name: t for t in tables(CPU, tiny, inline, str(tmp_path), 32)}
    assert list(found) == [
        "rate", "width", "contenders", "pieces", "readings", "storing", "waste", "accuracy",
    ]  # fmt: skip
    for table in found.values():
        assert table.rows, table.name
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.name
        assert table.markdown()
        assert table.to_json()["rows"]
    ways = {row[1]: row[2] for row in found["contenders"].rows}
    assert all(isinstance(figure, Figure | float) for name, figure in ways.items() if "JAX" not in str(name)), ways
    assert all(isinstance(row[1], Figure) for row in found["storing"].rows), found["storing"].rows
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []  # what was stored to be measured is gone
    for _, _, gradient, weights in found["accuracy"].rows:
        assert 0 < gradient < 1e-3  # a memorised network's is a difference of nearly equal numbers
        assert 0 < weights < 1e-4
    pieces = {row[1]: row[3] for row in found["pieces"].rows}
    assert pieces["all"] == 100.0


def test_the_projection_runs_on_any_device(tiny: Effort, inline: Workers) -> None:
    bench = Bench(CPU, tiny, Machine.here(), inline, None, time.monotonic() + 60.0, Figure.of([1e9]))
    config = {**_small_config(), "arm": "free"}
    groups = [{"stage": 0, "config": config, "runs": 3, "steps": [[50, 2], [25, 1]]}]
    table = projection(bench, groups)
    assert [row[:3] for row in table.rows] == [
        ("p = 5, mlp, ce, float32, stage 0", 3, 125),
        ("all", 3, 125),
    ]
    assert all(row[5] > 0 for row in table.rows)  # type: ignore[operator]


def test_the_bench_of_the_engine_needs_no_more_than_training_does() -> None:
    subprocess.run([sys.executable, "-c", NEEDS_NO_MORE], cwd=ROOT, check=True, timeout=120)


def test_a_failing_measurement_is_one_line_in_its_table(tiny: Effort) -> None:
    class Failing:
        def run(self, task: Callable[..., Any], *arguments: Any, workers: int, threads: int, ours: bool) -> list[Any]:
            if task.__name__ == "products":
                return [[1e9, 1e9]] * workers
            raise WorkerError("out of memory")

    found = list(tables(CPU, tiny, Failing(), None, 32))
    assert all("out of memory" in table.markdown() for table in found if table.name != "rate")


def test_processes_start_together_and_tell_what_went_wrong() -> None:
    workers = SpawnedWorkers(time.monotonic() + 120.0)
    assert workers.run(_threads, workers=2, threads=1, ours=True) == [1, 1]
    with pytest.raises(WorkerError, match="ValueError: no such thing"):
        workers.run(_fails, workers=1, threads=1, ours=False)
    with pytest.raises(WorkerError, match="time is up"):
        SpawnedWorkers(time.monotonic()).run(_threads, workers=1, threads=1, ours=True)


def _threads(ready: Callable[[], None]) -> int:
    ready()
    return torch.get_num_threads()


def _fails(ready: Callable[[], None]) -> None:
    raise ValueError("no such\nthing")


def _small_config() -> dict[str, Any]:
    from tests.bench.case import Case
    from tests.bench.ours import config_of

    values = config_of(Case(5, 1), d_model=8, hidden=16).to_dict()
    return {**values, "rho": None, "w_c": None, "clamp_from_step": None}
