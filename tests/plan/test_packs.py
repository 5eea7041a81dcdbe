"""Packs partition runs by shape, keep their size, and are the same on every machine."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_specs import BLOCKS, Axes, plan_of

from grok_sweeps.plan import make_packs

few = settings(max_examples=60)


@few
@given(BLOCKS, st.integers(1, 4), st.integers(1, 8), st.none() | st.integers(1, 9))
def test_packs_partition_the_runs_by_shape(blocks: list[Axes], workers: int, lanes: int, pack_runs: int | None) -> None:
    runs = plan_of(blocks).runs
    packs = make_packs(runs, workers=workers, lanes=lambda _: lanes, pack_runs=pack_runs)
    packed = [r.run_id for pack in packs for r in pack.runs]
    assert len(packed) == len(runs)
    assert set(packed) == {r.run_id for r in runs}
    assert all(len({r.config.shape for r in pack.runs}) == 1 for pack in packs)
    assert all(1 <= len(pack.runs) <= (pack_runs or len(runs)) for pack in packs)
    assert len({pack.pack_id for pack in packs}) == len(packs)
    assert [pack.flops for pack in packs] == sorted((pack.flops for pack in packs), reverse=True)


@few
@given(BLOCKS, st.integers(1, 4), st.integers(0, 99))
def test_packs_do_not_depend_on_the_order_of_the_runs(blocks: list[Axes], workers: int, order: int) -> None:
    runs = list(plan_of(blocks).runs)
    mixed = random.Random(order).sample(runs, len(runs))
    assert make_packs(runs, workers=workers, lanes=lambda _: 1) == make_packs(mixed, workers=workers, lanes=lambda _: 1)


def test_the_longest_run_of_a_pack_goes_first() -> None:
    runs = plan_of([{"arm": ["clamp"], "w_c": [5.0], "p": [59], "rho": [1.0, 1.15, 1.05], "seeds": 4}]).runs
    (pack,) = make_packs(runs, workers=1, lanes=lambda _: 12)
    doses = [r.config.rho for r in pack.runs]
    assert doses == sorted(doses, reverse=True)


@pytest.mark.parametrize(
    ("workers", "lanes", "packs"),
    [(1, 1, 4), (2, 1, 8), (2, 6, 4), (2, 24, 2), (2, 100, 2), (1, 100, 1), (30, 100, 24)],
)
def test_every_worker_gets_a_pack_and_several_as_long_as_each_fills_its_lanes(
    workers: int, lanes: int, packs: int
) -> None:
    runs = plan_of([{"p": [59], "seeds": 24}]).runs
    assert len(make_packs(runs, workers=workers, lanes=lambda _: lanes)) == packs


def test_no_runs_give_no_packs() -> None:
    assert make_packs([], workers=2, lanes=lambda _: 1) == []
