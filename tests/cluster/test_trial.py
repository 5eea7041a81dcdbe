"""What a worker tells when something goes wrong, without Ray: whose fault it is, and what was written by then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

import grok_sweeps.cluster.trial
from grok_sweeps.cluster.trial import PackTrial
from grok_sweeps.errors import StoreError
from grok_sweeps.plan.plan import Plan
from grok_sweeps.provenance import cpu_name
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.lease import Lease, read_lease
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.take_lease import take_lease
from grok_sweeps.train import native
from grok_sweeps.train.work import pack_content, planned_work

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def _no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grok_sweeps.cluster.trial, "is_requested", lambda _: False)
    monkeypatch.setattr(grok_sweeps.cluster.trial, "this_node", lambda: "node")
    monkeypatch.setattr(grok_sweeps.cluster.trial, "drains", lambda _: False)
    monkeypatch.setattr(grok_sweeps.cluster.trial, "_end_soon", lambda: None)
    monkeypatch.setattr(grok_sweeps.cluster.trial, "REPORT_EVERY_S", 1e-6)  # a step ends at the next reading


@pytest.fixture
def begin(tmp_path: Path, small_plan: Callable[..., tuple[str, Plan]]) -> Callable[..., PackTrial]:
    """Start a trial of one run; keywords change its pack."""
    text, plan = small_plan("tried", seeds=1)
    store = SweepStore(open_objects(str(tmp_path / "store")), "tried")
    store.create(text, plan)

    def start(bundle: dict[str, float] | None = None, **changes: Any) -> PackTrial:
        how = {"lanes": 1, "device": "cpu", "engine": "auto", "threads": 1, "checkpoint_every_s": 1e9, "git_sha": None}
        runs = [planned_work(run, plan) for run in plan.runs]
        store.put_pack("pack", pack_content(runs, **{**how, **changes}))
        trial = PackTrial.__new__(PackTrial)
        trial.config = {
            "store": store.objects.uri,
            "sweep": "tried",
            "pack": "pack",
            "bundle": bundle or {"CPU": 1.0},
            "stop_request": "",
            "is_last": True,
        }
        trial.setup(trial.config)
        return trial

    return start


@pytest.mark.parametrize(("engine", "why"), [("fused", "does not train on cpu"), ("native", "no C++ compiler")])
def test_an_engine_that_does_not_work_here_ends_the_sweep_and_fails_no_run(
    engine: str, why: str, begin: Callable[..., PackTrial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    native.load.cache_clear()
    trial = begin(engine=engine)
    said = trial.step()
    trial.cleanup()
    assert set(said) == {"unusable", "files_written", "node"}
    assert why in said["unusable"]
    assert "use execution.engine=auto" in said["unusable"]
    assert "\n" not in said["unusable"]
    log = RowLog(SweepStore(open_objects(str(tmp_path / "store")), "tried"))
    log.refresh()
    assert not log.rows


def test_what_is_being_written_while_a_pack_raises_counts(
    begin: Callable[..., PackTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grok_sweeps.cluster.trial, "REPORT_EVERY_S", WAIT_S)
    trial = begin(checkpoint_every_s=0.0)
    trial._begin()
    trainer = trial._trainer
    assert trainer is not None
    writing, released = threading.Event(), threading.Event()
    put, finish, train = trainer.store.objects.put, trainer.finish_writes, trainer._to_next_reading

    def slow_put(name: str, data: bytes) -> None:
        writing.set()
        assert released.wait(WAIT_S)
        put(name, data)

    def train_once() -> None:
        if trainer.run_steps:
            assert writing.wait(WAIT_S)
            raise RuntimeError("a fault")
        train()

    def settle() -> None:
        released.set()
        finish()

    monkeypatch.setattr(trainer.store.objects, "put", slow_put)
    monkeypatch.setattr(trainer, "_to_next_reading", train_once)
    monkeypatch.setattr(trainer, "finish_writes", settle)
    try:
        said = trial.step()
    finally:
        released.set()
        trial.cleanup()
    assert said["raised"].startswith("RuntimeError: a fault")
    assert said["files_written"] == 1


def test_a_write_that_failed_does_not_touch_the_next_pack_and_is_told(begin: Callable[..., PackTrial]) -> None:
    def fails() -> None:
        raise RuntimeError("a lost write")

    trial = begin()
    trial.step()
    assert trial._trainer is not None
    trial._trainer._writer.submit(fails)
    assert trial.reset_config(trial.config)
    said = trial.step()
    trial.cleanup()
    (note,) = [note for note in said["notes"] if "a lost write" in note]
    assert note.startswith("no state was written at the end of an attempt: RuntimeError: a lost write")


def test_states_that_a_full_store_refuses_are_told_with_the_steps_that_are_lost(
    begin: Callable[..., PackTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, data: bytes) -> None:
        raise StoreError(f"{name}: no space left")

    trial = begin()
    while not (steps := trial.step()["run_steps"]):  # a busy machine may not come to a step at once
        pass
    assert trial._trainer is not None
    monkeypatch.setattr(trial._trainer.store.objects, "put", full)
    (note,) = trial._leave()
    trial.cleanup()
    assert "no space left" in note
    assert f" {steps:,}" in note.split("trained again: run ")[1]


def test_a_signal_in_the_middle_of_a_checkpoint_leaves_it_whole(
    begin: Callable[..., PackTrial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin()
    trial.step()
    assert trial._trainer is not None
    objects, asked = trial._trainer.store.objects, trial._trainer.advance
    put = objects.put

    def signalled_put(name: str, data: bytes) -> None:
        trial._on_signal(signal.SIGTERM, None)
        put(name, data)

    monkeypatch.setattr(objects, "put", signalled_put)
    monkeypatch.setattr(trial._trainer, "advance", lambda seconds, stop: asked(seconds, lambda: True))
    said = trial.step()
    assert said["stopped"]
    with pytest.raises(SystemExit):
        trial.step()
    trial.cleanup()
    store = SweepStore(open_objects(str(tmp_path / "store")), "tried")
    (state,) = StateIndex(store).load_newest([run["run_id"] for run in store.load_pack("pack")["runs"]]).values()
    assert state.step == said["run_steps"]


def test_a_second_signal_while_a_worker_leaves_does_not_cut_its_states_short(
    begin: Callable[..., PackTrial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin()
    while (said := trial.step())["run_steps"] == 0:
        assert not said["done"]
    assert trial._trainer is not None
    checkpoint = trial._trainer.checkpoint

    def signalled() -> None:
        trial._on_signal(signal.SIGHUP, None)
        checkpoint()

    monkeypatch.setattr(trial._trainer, "checkpoint", signalled)
    with pytest.raises(SystemExit):
        trial._on_signal(signal.SIGTERM, None)
    trial.cleanup()
    store = SweepStore(open_objects(str(tmp_path / "store")), "tried")
    (state,) = StateIndex(store).load_newest([run["run_id"] for run in store.load_pack("pack")["runs"]]).values()
    assert state.step == said["run_steps"]


@pytest.mark.parametrize(("bundle", "share"), [({"CPU": 1.0}, None), ({"CPU": 1.0, "GPU": 0.25}, 0.25)])
def test_a_row_says_what_kind_of_device_trained_it_and_how_much_of_it(
    bundle: dict[str, float], share: float | None, begin: Callable[..., PackTrial], tmp_path: Path
) -> None:
    trial = begin(bundle)
    while not trial.step()["done"]:
        pass
    trial.cleanup()
    log = RowLog(SweepStore(open_objects(str(tmp_path / "store")), "tried"))
    log.refresh()
    (row,) = log.rows.values()
    assert row["device_name"] == cpu_name()
    assert row["gpu_share"] == share


def test_a_pack_on_a_node_that_is_about_to_go_writes_its_states_and_is_handed_back(
    begin: Callable[..., PackTrial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin()
    while (before := trial.step())["run_steps"] == 0:
        assert not before["preempted"]
    monkeypatch.setattr(grok_sweeps.cluster.trial, "drains", lambda node: node == "node")
    said = trial.step()
    assert (said["preempted"], said["done"], said["node"]) == (True, False, "node")
    store = SweepStore(open_objects(str(tmp_path / "store")), "tried")
    (state,) = StateIndex(store).load_newest([run["run_id"] for run in store.load_pack("pack")["runs"]]).values()
    assert state.step == said["run_steps"] >= before["run_steps"]
    with pytest.raises(RuntimeError, match="not used again"):
        trial.step()
    trial.cleanup()


@pytest.fixture
def lease(begin: Callable[..., PackTrial], tmp_path: Path) -> Lease:
    """The lease of the driver whose trials `begin` starts."""
    return take_lease(SweepStore(open_objects(str(tmp_path / "store")), "tried"), {"host": "first"})


def take_over(store: SweepStore) -> None:
    standing = read_lease(store)
    assert standing is not None
    assert Lease(store, {"host": "second"}, standing.fence + 1).begin(standing)


def written(store: SweepStore) -> list[str]:
    return [info.name for folder in ("rows", "curves", "checkpoints") for info in store.objects.list(f"tried/{folder}")]


def test_a_worker_of_a_driver_that_was_replaced_writes_nothing_more_and_blames_nobody(
    begin: Callable[..., PackTrial], lease: Lease
) -> None:
    trial = begin(checkpoint_every_s=0.0)
    trial.config["fence"] = lease.fence
    while not written(trial._store()):
        trial.step()
    assert trial._trainer is not None
    trial._trainer.finish_writes()
    take_over(trial._store())
    before = written(trial._store())
    while "lease_lost" not in (said := trial.step()):
        assert not said["done"]
    assert (said["stopped"], said["done"]) == (True, True)
    assert "taken over by a driver" in said["lease_lost"]
    assert written(trial._store()) == before
    assert trial.reset_config(trial.config)
    assert set(trial.step()) == {"lease_lost", "stopped", "done"}, "nor does it begin another pack"
    trial.cleanup()


def test_a_run_that_raises_after_its_driver_was_replaced_has_no_row(
    begin: Callable[..., PackTrial], lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin()
    trial.config["fence"] = lease.fence
    trial._begin()

    def fault(*_: object, **__: object) -> None:
        take_over(trial._store())
        raise RuntimeError("a fault")

    monkeypatch.setattr(trial._trainer, "advance", fault)
    assert set(trial.step()) == {"lease_lost", "stopped", "done"}
    trial.cleanup()
    assert written(trial._store()) == []


def test_a_pack_avoids_nodes_by_ray_s_label_of_them() -> None:
    config = {"bundle": {"CPU": 1.0}, "avoid": ["a", "b"]}
    elsewhere = PackTrial.default_resource_request(config)
    assert elsewhere == tune.PlacementGroupFactory(
        [{"CPU": 1.0}], bundle_label_selector=[{"ray.io/node-id": "!in(a,b)"}]
    )
    assert PackTrial.default_resource_request({**config, "avoid": []}) == tune.PlacementGroupFactory([{"CPU": 1.0}])


def test_a_worker_opens_its_store_once_for_all_its_packs(
    begin: Callable[..., PackTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counted(uri: str) -> Any:
        opened.append(uri)
        return open_objects(uri)

    trial = begin()
    monkeypatch.setattr(grok_sweeps.cluster.trial, "open_objects", counted)
    for _ in range(2):
        while not trial.step()["done"]:
            pass
        assert trial.reset_config(trial.config)
    assert opened == [trial.config["store"]]
    trial.cleanup()
