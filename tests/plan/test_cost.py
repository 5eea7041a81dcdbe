"""Device-hours, time and price of a plan on a pool, from rates that were measured or given and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from grok_sweeps.config import RunConfig
from grok_sweeps.errors import SpecError
from grok_sweeps.plan import Pack, make_plan
from grok_sweeps.plan.cost import Cost, cost_of
from grok_sweeps.plan.estimate import CORE_GFLOPS, step_flops
from grok_sweeps.plan.packs import pack_of
from grok_sweeps.plan.plan import PlannedRun
from grok_sweeps.plan.rates import Measured, Pool, Rates, parse_pool, rates_of
from grok_sweeps.spec import parse_spec

RUNS = make_plan(parse_spec("name: c\nruns: {p: [59, 97], seeds: 4}\n")).runs
SMALL, LARGE = (next(run.config for run in RUNS if run.config.p == p) for p in (59, 97))
H100 = "NVIDIA H100 80GB HBM3"


def rows(config: RunConfig = SMALL, **values: Any) -> Measured:
    usual = {"device": "cuda:0", "device_name": H100, "share": 1.0, "run_steps": 1000, "wall_s": 2.0, "n_rows": 3}
    return Measured(config, **{**usual, **values})


def packs(*sizes: int) -> list[Pack]:
    """Packs of so many runs each."""
    runs: list[PlannedRun] = [replace(RUNS[0], run_id=f"{k}-{i}") for k, size in enumerate(sizes) for i in range(size)]
    return [pack_of([run for run in runs if run.run_id.startswith(f"{k}-")], 4) for k in range(len(sizes))]


def cost(stages: Sequence[Sequence[Pack]], workers: int, share: float = 1.0) -> Cost:
    """Cost where a run takes an hour."""
    steps = {run.run_id: 3600 for stage in stages for pack in stage for run in pack.runs}
    return cost_of(stages, steps, workers=workers, share=share, rates=Rates("", steps=1.0))


@pytest.mark.parametrize(
    ("text", "pool"),
    [
        ("8xH100", Pool(8, "H100")),
        ("16xcpu", Pool(16, "cpu")),
        ("2 × A100-SXM4", Pool(2, "A100-SXM4")),
        ("4xCPU", Pool(4, "cpu")),
    ],
)
def test_a_pool_is_a_number_of_devices_and_their_kind(text: str, pool: Pool) -> None:
    assert parse_pool(text) == pool


@pytest.mark.parametrize("text", ["8H100", "0xH100", "xH100", "8x", "", "-1xcpu", "8x8"])
def test_another_pool_is_one_clear_error(text: str) -> None:
    with pytest.raises(SpecError, match=r"--cluster: '.*' is not a number of devices .* write 8xH100"):
        parse_pool(text)


def test_packs_go_to_the_worker_that_is_free_first_and_stages_add() -> None:
    assert cost([packs(5, 4, 3, 3, 3)], 2).wall_s == 10 * 3600, "5 + 3 beside 4 + 3 + 3"
    assert cost([packs(2, 1), packs(3)], 2).wall_s == 5 * 3600
    assert cost([packs(2, 1), []], 8).wall_s == 2 * 3600
    assert cost([packs(4, 2)], 3, share=0.5) == Cost(6 * 3600, 3.0, 4 * 3600)


def test_a_gpu_without_rows_has_no_rate_and_no_hours() -> None:
    others = [
        rows(device_name="NVIDIA A100-SXM4-80GB"),
        rows(device="cpu", device_name="H100 look-alike"),
        rows(share=0.5),
        rows(share=None),
        rows(device_name=None),
    ]
    rates = rates_of(Pool(8, "H100"), 1.0, others)
    assert not rates.known
    assert rates.source == "no rate measured on H100 yet"
    steps = {run.run_id: 10 for run in RUNS}
    assert cost_of([[pack_of(RUNS, 4)]], steps, workers=8, share=1.0, rates=rates) == Cost(80, None, None)
    assert "by workers that hold 0.25 of one" in rates_of(Pool(8, "H100"), 0.25, others).source


def test_l4_is_not_l40s() -> None:
    assert not rates_of(Pool(1, "L4"), 1.0, [rows(device_name="NVIDIA L40S")]).known
    assert rates_of(Pool(1, "l40s"), 1.0, [rows(device_name="NVIDIA L40S")]).known


def test_runs_of_equal_work_take_what_was_measured_and_others_in_proportion() -> None:
    rates = rates_of(Pool(8, "H100"), 1.0, [rows(), rows(wall_s=4.0), rows(device_name="NVIDIA H200")])
    assert rates.seconds(SMALL) == pytest.approx(6.0 / 2000)
    assert rates.seconds(LARGE) == pytest.approx(6.0 / 2000 * step_flops(LARGE) / step_flops(SMALL))
    assert "6 rows of the store on NVIDIA H100 80GB HBM3" in rates.source


def test_a_core_has_the_measured_rate_of_the_project_until_the_store_knows_better() -> None:
    pool = Pool(4, "cpu")
    bare = rates_of(pool, 1.0, [rows()])
    assert bare.seconds(SMALL) == pytest.approx(step_flops(SMALL) / (CORE_GFLOPS * 1e9))
    known = rates_of(pool, 1.0, [rows(device="cpu", device_name=None), rows(device="cpu", share=2.0, wall_s=1.0)])
    assert known.seconds(SMALL) == pytest.approx(2.0 / 1000)
    assert known.seconds(LARGE) == bare.seconds(LARGE)


def test_a_rate_that_is_given_is_that_of_a_whole_device() -> None:
    rates = rates_of(Pool(1, "H100"), 0.5, [rows()], 1000.0)
    assert rates.seconds(SMALL) == rates.seconds(LARGE) == 1 / 500
    assert rates.source == "at 1,000 run-steps/s a GPU, as given"


def test_a_rate_never_comes_from_rows_without_time() -> None:
    assert not rates_of(Pool(1, "H100"), 1.0, [rows(wall_s=0.0), rows(run_steps=0)]).known
    assert not math.isfinite(Rates("").seconds(SMALL))
