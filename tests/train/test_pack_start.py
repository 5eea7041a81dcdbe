"""What a pack costs to start: its worker reads the pack and the states that it names, and searches for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from packs import CPU, a_little, complete, rows, work_of

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.packs import pack_of
from grok_sweeps.plan.plan import Plan
from grok_sweeps.provenance import provenance
from grok_sweeps.store import SweepStore
from grok_sweeps.store.checkpoints import kept_steps
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.todo import Todo
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork, RunWork, load_work, pack_content, planned_work, with_states
from tests.counted_requests import CountedRequests
from tests.full_store import fill
from tests.published import published, ready

Make = Callable[..., RunConfig]
Trainer = Callable[..., PackTrainer]
NewSweep = Callable[[str], SweepStore]

HOW: dict[str, Any] = {"device": "cpu", "engine": "auto", "threads": 1, "checkpoint_every_s": 1e9, "git_sha": None}
MOST_REQUESTS = 6
"""Of a pack start, beside one a state."""


def begun(store: SweepStore, work: PackWork, attempt: str = "b") -> PackTrainer:
    """An attempt at a pack as it was published, whatever has happened since."""
    return PackTrainer(store, work, attempt, choose_engine("auto", CPU), provenance(None))


def counted(store: SweepStore, parallel: int = 1) -> tuple[SweepStore, CountedRequests]:
    objects = CountedRequests(store.objects, parallel)
    return SweepStore(objects, store.sweep), objects


def trained_to(pack: PackTrainer, run_steps: int) -> PackTrainer:
    """Train a pack until its lanes have done some steps, and write their states."""
    while pack.run_steps < run_steps:
        a_little(pack)
    pack.checkpoint()
    return pack


def in_checkpoints(store: SweepStore) -> list[str]:
    return [info.name for info in store.objects.list(store.layout.checkpoints)]


@pytest.mark.parametrize("parallel", [1, 16], ids=["a directory", "across a network"])
def test_a_pack_start_asks_the_same_of_a_store_of_10_and_of_10_000_rows(
    parallel: int, new_sweep: NewSweep, small_plan: Callable[..., tuple[str, Plan]]
) -> None:
    _, plan = small_plan("full", w_c="control", seeds=3, rho=[1.0, 1.1])
    runs = plan.stage(1)
    asked = {}
    for n in (10, 1_000, 10_000):
        store = new_sweep(f"full-{n}")
        store.create_calibration({control: {"w_c": 27.0} for control in plan.controls})
        work, _ = published(store, plan, "pack", runs, lanes=6, **HOW)
        trained_to(begun(store, work, "a"), 6 * 25)
        fill(store, n, n)

        index, seen = counted(store, parallel)
        published(index, plan, "pack", runs, lanes=6, **HOW)
        of_the_index = [request for request in seen.requests if request[0] == "list"]
        counting, objects = counted(store, parallel)
        pack = begun(counting, load_work(counting, "pack")[0])
        assert min(state.step for state in pack.lane_states()) >= 25
        asked[n] = [(operation, name.removeprefix(store.sweep)) for operation, name in objects.requests]
        assert len(of_the_index) == 2 + -(-n // 1_000), "rows, checkpoints and states are listed once, by the driver"
    assert asked[10] == asked[1_000] == asked[10_000]
    (checkpoint,) = [name for _, name in asked[10] if "checkpoints" in name]
    assert asked[10] == [("read", "/packs/pack.json"), ("read", "/calibration.json"), ("read", checkpoint)]


@pytest.mark.parametrize("parallel", [1, 16])
def test_runs_from_states_of_their_own_and_forks_cost_one_request_a_state(
    parallel: int, small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    short = [small_config(seed, max_steps=50) for seed in range(6)]
    parents = [small_config(seed, max_steps=75, stop="budget") for seed in range(6)]
    complete(trainer(short, lanes=6))
    complete(trainer([work_of(parent, is_parent=True) for parent in parents], lanes=6, attempt="parents"))
    longer = [work_of(config, horizon_steps=75) for config in short]
    forks = [
        work_of(replace(parent, fork_cell=parent.cell_id, fork_step=75, max_steps=100), fork_of=parent.run_id)
        for parent in parents
    ]
    sweep_store.put_pack("pack", pack_content(ready(sweep_store, [*longer, *forks]), lanes=12, **HOW))
    counting, objects = counted(sweep_store, parallel)
    pack = begun(counting, load_work(counting, "pack")[0])
    assert sorted(state.step for state in pack.lane_states()) == [50] * 6 + [75] * 6
    assert len(objects.requests) == 1 + 12
    assert {operation for operation, _ in objects.requests} == {"read"}


def test_a_pack_is_read_as_it_was_published(small_config: Make, trainer: Trainer, sweep_store: SweepStore) -> None:
    config, other = small_config(0, max_steps=50), small_config(1)
    complete(trainer([config], lanes=1))
    trained_to(trainer([other], lanes=1, pack_id="other"), 25)
    runs = ready(sweep_store, [work_of(config, horizon_steps=75), work_of(other)])
    sweep_store.put_pack("pack", pack_content(runs, lanes=1, **HOW))
    assert load_work(sweep_store, "pack")[0].runs == runs
    assert (runs[0].extends_step, [ref.step for ref in runs[0].states]) == (50, [50])
    assert runs[1].states[0].object_name == in_checkpoints(sweep_store)[0]


def test_a_few_lanes_of_a_wide_checkpoint_are_read_without_the_others(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    configs = [small_config(seed, d_model=256, hidden=512) for seed in range(6)]
    trained_to(trainer(configs, lanes=6), 6)
    (size,) = [info.size for info in sweep_store.objects.list(sweep_store.layout.checkpoints)]
    for n, share in ((1, 0.5), (6, 1.01)):
        work = PackWork("other", ready(sweep_store, [work_of(config) for config in configs[-n:]]), n, 1e9)
        counting, objects = counted(sweep_store)
        assert len(begun(counting, work).lane_states()) == n
        assert objects.bytes_read < share * size
        assert len(objects.requests) == {1: 2, 6: 1}[n]


class TestAnOldWorkerThatStillWrites:
    """A pack was published, and a worker that was thought dead trains on."""

    @pytest.fixture
    def old(self, small_config: Make, trainer: Trainer) -> PackTrainer:
        return trained_to(trainer([small_config(0), small_config(1)], lanes=2, attempt="old"), 50)

    @pytest.fixture
    def work(self, old: PackTrainer) -> PackWork:
        return PackWork("pack", ready(old.store, old.work.runs), 2, 1e9)

    def test_its_newer_checkpoint_is_found_in_the_folder_of_the_one_that_is_gone(
        self, old: PackTrainer, work: PackWork, sweep_store: SweepStore, new_sweep: NewSweep, trainer: Trainer
    ) -> None:
        before = in_checkpoints(sweep_store)
        newer = {state.run_id: state.sha256() for state in trained_to(old, 150).lane_states()}
        assert in_checkpoints(sweep_store) != before
        fill(sweep_store, 10, 10)
        counting, objects = counted(sweep_store)
        pack = begun(counting, work)
        assert {state.run_id: state.sha256() for state in pack.lane_states()} == newer
        folder = f"{sweep_store.layout.checkpoints}/pack"
        assert [name for operation, name in objects.requests if operation == "list"] == [folder]
        assert len(objects.requests) <= MOST_REQUESTS + 2

        complete(pack)
        whole = new_sweep("whole")
        complete(trainer([run.config for run in work.runs], lanes=2, store=whole))
        for run_id, row in rows(whole).items():
            assert rows(sweep_store)[run_id]["final_state_sha256"] == row["final_state_sha256"]

    def test_a_run_that_it_has_ended_is_trained_again_to_the_same_numbers(
        self, old: PackTrainer, work: PackWork, sweep_store: SweepStore
    ) -> None:
        complete(old)
        assert in_checkpoints(sweep_store) == []
        first = rows(sweep_store)
        pack = begun(sweep_store, work)
        assert [state.step for state in pack.lane_states()] == [0, 0]
        complete(pack)
        for run_id, row in rows(sweep_store).items():
            assert row["attempt"] == "old"
            assert row["final_state_sha256"] == first[run_id]["final_state_sha256"]
        assert len(list(sweep_store.objects.list(sweep_store.layout.rows))) > 1

    def test_an_older_state_elsewhere_takes_the_place_of_one_that_is_gone(
        self, old: PackTrainer, work: PackWork, sweep_store: SweepStore, trainer: Trainer
    ) -> None:
        runs = [run.config for run in work.runs]
        trained_to(trainer(runs, lanes=2, attempt="elsewhere", pack_id="elsewhere"), 50)
        again = PackWork("pack", ready(sweep_store, old.work.runs), 2, 1e9)
        assert len(again.runs[0].states) == 2
        newest = again.runs[0].states[0]
        sweep_store.objects.delete(newest.object_name)
        pack = begun(sweep_store, again)
        assert [state.step for state in pack.lane_states()] == [run.states[1].step for run in again.runs]

    def test_a_state_of_another_sweep_is_never_beyond_the_fork(
        self, old: PackTrainer, small_config: Make, new_sweep: NewSweep, sweep_store: SweepStore
    ) -> None:
        origin = small_config(0)
        step = max(state.step for state in old.lane_states())
        parent = work_of(origin.prefix(step + 25), is_parent=True, origin=f"{sweep_store.sweep}/{origin.run_id}")
        new = new_sweep("new")
        work = PackWork("pack", ready(new, [parent]), 1, 1e9)
        assert begun(new, work).lane_states()[0].step == step
        trained_to(old, 4 * step + 100)
        assert begun(new, work).lane_states()[0].step == 0


def test_halves_of_a_pack_go_on_from_what_its_failed_attempt_has_written(
    new_sweep: NewSweep, small_plan: Callable[..., tuple[str, Plan]]
) -> None:
    store = new_sweep("small")
    _, plan = small_plan("small", seeds=3, max_steps=100)
    index, log = StateIndex(store), RowLog(store)
    whole = pack_of(plan.runs, 2)
    work, _ = published(store, plan, whole.pack_id, whole.runs, lanes=2, **HOW)
    failed = begun(store, work, "a")
    while a_little(failed).runs_finished < 1:
        pass
    failed.checkpoint()
    newest = {state.run_id: state.step for state in failed.lane_states()}
    index.refresh_pack(whole.pack_id)
    log.refresh()
    left = Todo(plan).left_of(whole.runs, log.rows)
    assert {run.run_id for run in left} == {run.run_id for run in whole.runs} - log.rows.keys()
    for half in (pack_of(left[:1], 2), pack_of(left[1:], 2)):
        runs = with_states([planned_work(run, plan) for run in half.runs], log.rows, index)
        store.put_pack(half.pack_id, pack_content(runs, lanes=half.lanes, **HOW))
        pack = begun(store, load_work(store, half.pack_id)[0])
        for state in pack.lane_states():
            assert state.step == newest.get(state.run_id, 0)
        complete(pack)
    assert rows(store).keys() == plan.run_ids()


def test_a_final_state_that_is_gone_is_not_searched_for(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    config = small_config(0, max_steps=50)
    complete(trainer([config], lanes=1))
    work = PackWork("pack", ready(sweep_store, [work_of(config, horizon_steps=75)]), 1, 1e9)
    sweep_store.objects.delete(sweep_store.layout.state(config.run_id, 50))
    counting, objects = counted(sweep_store)
    pack = begun(counting, work)
    assert pack.lane_states()[0].step == 0
    assert [operation for operation, _ in objects.requests] == ["read"]
    complete(pack)
    assert kept_steps(sweep_store) == {config.run_id: {75}}


def test_a_damaged_state_gives_way_to_the_next_candidate_and_is_named(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    config = small_config(0)
    trained_to(trainer([config], lanes=1, attempt="a"), 25)
    trained_to(trainer([config], lanes=1, attempt="b"), 50)
    (run,) = ready(sweep_store, [work_of(config)])
    newest, older = run.states
    assert newest.step > older.step
    sweep_store.objects.put(newest.object_name, b"damaged")
    pack = begun(sweep_store, PackWork("pack", (run,), 1, 1e9), "c")
    assert pack.lane_states()[0].step == older.step
    (note,) = pack.notes
    assert note.startswith(f"skipped: {newest.object_name}: ")


def test_states_are_held_only_until_their_runs_start(
    small_config: Make, trainer: Trainer, sweep_store: SweepStore
) -> None:
    configs = [small_config(seed, max_steps=50) for seed in range(5)]
    complete(trainer(configs, lanes=5))
    work = PackWork("pack", ready(sweep_store, [work_of(c, horizon_steps=75) for c in configs]), 2, 1e9)
    counting, objects = counted(sweep_store)
    pack = begun(counting, work)
    assert len(objects.requests) == 2, "those of the runs that wait are read when they start"
    complete(pack)
    assert {row["steps_run"] for row in rows(sweep_store).values()} == {75}


def test_a_run_that_is_ready_keeps_its_fields(small_config: Make, sweep_store: SweepStore) -> None:
    run = work_of(small_config(0), is_parent=True)
    (found,) = ready(sweep_store, [run])
    assert found == run == RunWork(**{name: getattr(found, name) for name in RunWork.__dataclass_fields__})
