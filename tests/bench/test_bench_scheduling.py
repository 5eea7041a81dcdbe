"""The bench of scheduling: its sweeps, how it splits their time, and a driver whose trials train nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from grok_sweeps.plan import make_plan
from grok_sweeps.spec import parse_spec
from tests.bench.null_driver import spec_of
from tests.bench.product import Sweep
from tests.bench.scheduling import driving, parts


@pytest.mark.parametrize("n_runs", [20, 1_000, 3_000])
def test_a_sweep_of_many_has_as_many_runs(n_runs: int) -> None:
    assert len(make_plan(parse_spec(spec_of(n_runs))).runs) == n_runs


def test_the_parts_of_a_sweep_sum_to_its_time() -> None:
    def at(second: float) -> datetime:
        return datetime.fromtimestamp(second, UTC)

    rows = {
        "a": {"started_at": at(105.0), "finished_at": at(109.0), "wall_s": 4.0},
        "b": {"started_at": at(106.0), "finished_at": at(111.0), "wall_s": 5.0},
    }
    *found, (_, whole), (_, overhead) = parts(Sweep(rows, 100.0, 112.0, 101.0), n_workers=2)
    assert [seconds for _, seconds in found] == [1.0, 4.0, 4.5, 1.5, 1.0]
    assert (whole, overhead) == (12.0, 7.5)


@pytest.mark.slow
@pytest.mark.ray
def test_a_driver_completes_sweeps_that_train_nothing() -> None:
    table = driving((20, 40))
    for row in table.rows:
        assert all(isinstance(value, float) for value in row[1:5]), row
        assert row[2] <= row[3] <= row[4]  # type: ignore[operator]
    assert [row[0] for row in table.rows] == [20, 40]
