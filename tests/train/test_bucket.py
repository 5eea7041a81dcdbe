"""Packs on a bucket: the same numbers as in a directory, over interruptions and damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
from packs import a_little, complete, rows

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import Store
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.s3 import S3Objects
from grok_sweeps.train.pack import PackTrainer
from tests.published import ready

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]


@pytest.fixture
def bucket_sweep(seaweed_uri: str, small_plan: Callable[..., tuple[str, Plan]]) -> SweepStore:
    """A sweep without rows on SeaweedFS."""
    store = SweepStore(open_objects(seaweed_uri), "small")
    store.create(*small_plan())
    return store


def test_an_interrupted_pack_has_the_rows_of_an_undisturbed_one_in_a_directory(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore, bucket_sweep: SweepStore
) -> None:
    configs = [small_config(seed) for seed in range(4)] + [small_config(9, max_steps=100)]
    complete(trainer(configs, lanes=2, store=sweep_store))

    first = trainer(configs, lanes=2, attempt="first", store=bucket_sweep, checkpoint_every_s=0.05)
    while a_little(first).runs_finished < 1:
        pass
    first.checkpoint()
    names = [info.name for info in bucket_sweep.objects.list(bucket_sweep.layout.checkpoints)]
    assert len(names) == 1, "the older ones are deleted"
    states = {s.run_id: s.sha256() for s in first.lane_states()}
    second = trainer(configs, lanes=2, attempt="second", store=bucket_sweep)
    assert {s.run_id: s.sha256() for s in second.lane_states()} == states
    complete(second)

    expected, found = rows(sweep_store), rows(bucket_sweep)
    assert set(found) == {c.run_id for c in configs}
    for run_id, row in found.items():
        for column in ("outcome", "grokked_step", "steps_run", "final_state_sha256"):
            assert row[column] == expected[run_id][column]
    assert {row["attempt"] for row in found.values()} == {"first", "second"}
    frames = [Store(store.objects).curves().drop(columns=["attempt"]) for store in (sweep_store, bucket_sweep)]
    assert frames[0].equals(frames[1])


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_older_one(
    damage: str, small_config: Make, trainer: Trainer, bucket_sweep: SweepStore
) -> None:
    config = small_config(0)
    objects = bucket_sweep.objects

    def checkpoint(attempt: str) -> tuple[str, str]:
        pack = trainer([config], lanes=1, attempt=attempt, store=bucket_sweep)
        readings = count()
        pack.advance(60.0, stop=lambda: next(readings) >= 2)
        (name,) = [i.name for i in objects.list(bucket_sweep.layout.checkpoints) if f"/{attempt}-" in i.name]
        return name, pack.lane_states()[0].sha256()

    _, older = checkpoint("a")
    name, newer = checkpoint("b")
    assert older != newer
    data = objects.get(name) or b""
    made = {"truncated": data[: len(data) // 2], "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]}
    objects.put(name, made[damage])
    third = trainer([config], lanes=1, attempt="c", store=bucket_sweep)
    (note,) = third.notes
    assert note.startswith(f"skipped: {name}")
    assert third.lane_states()[0].sha256() == older


def test_a_pack_on_a_bucket_starts_with_one_request_for_all_its_lanes(
    small_config: Make, trainer: Trainer, bucket_sweep: SweepStore
) -> None:
    configs = [small_config(seed) for seed in range(4)]
    first = trainer(configs, lanes=4, attempt="a", store=bucket_sweep)
    while not first.run_steps:
        a_little(first)
    first.checkpoint()
    assert isinstance(bucket_sweep.objects, S3Objects)
    work = replace(first.work, runs=ready(bucket_sweep, first.work.runs))
    asked: list[str] = []
    events = bucket_sweep.objects._client.meta.events
    events.register("before-call.s3", lambda model, **_: asked.append(model.name))
    again = PackTrainer(bucket_sweep, work, "b", first.engine, first.provenance)
    assert len(again.lane_states()) == 4
    assert asked == ["GetObject"]
