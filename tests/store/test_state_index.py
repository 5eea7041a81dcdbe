"""Where states are: listed once, then told what an attempt at a pack has left behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from store_rows import state_of

from grok_sweeps.errors import CorruptObjectError, UnreadableObjectWarning
from grok_sweeps.plan import make_plan
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from grok_sweeps.store.checkpoints import StateReader, StateRef, keep_state
from grok_sweeps.store.state_index import MOST_CANDIDATES, StateIndex
from grok_sweeps.store.states import LaneState, encode_states
from tests.counted_requests import CountedRequests
from tests.full_store import fill

FORKS = "name: made\nruns: {p: 5, seeds: 3, max_steps: 100, arm: fork, rho: 0.9, fork: {of: control, at_step: 20}}\n"


def put(sweep: SweepStore, pack: str, attempt: str, *states: LaneState) -> str:
    name = sweep.layout.checkpoint(pack, attempt, 1)
    sweep.objects.put(name, encode_states(states))
    return name


def steps(index: StateIndex, run_id: str, **options: Any) -> list[int]:
    return [ref.step for ref in index.candidates(run_id, **options)]


def test_candidates_are_the_newest_states_of_any_pack_newest_first(sweep: SweepStore) -> None:
    for step in (25, 75, 50, 100):
        put(sweep, f"pack{step}", "a", state_of("r1", step), state_of("r2", step))
    keep_state(sweep, state_of("r1", 60))
    index = StateIndex(sweep)
    assert steps(index, "r1") == [100, 75, 60]
    assert len(index.candidates("r1")) == MOST_CANDIDATES
    assert [ref.lanes for ref in index.candidates("r1")] == [2, 2, 1]
    assert steps(index, "r1", at_most=60) == [60, 50, 25]
    assert steps(index, "r3") == []
    assert index.candidates_of_origin("made/r1", at_most=60) == index.candidates("r1", at_most=60)
    assert index.candidates_of_origin("none/r1", at_most=60) == ()


def test_a_final_state_comes_before_a_checkpoint_of_the_same_step(sweep: SweepStore) -> None:
    put(sweep, "pack", "a", state_of("r1", 50))
    keep_state(sweep, state_of("r1", 50))
    assert [ref.object_name for ref in StateIndex(sweep).candidates("r1")] == [
        sweep.layout.state("r1", 50),
        sweep.layout.checkpoint("pack", "a", 1),
    ]


def test_after_an_attempt_its_new_states_are_known_and_those_that_are_gone_are_not(sweep: SweepStore) -> None:
    older = put(sweep, "pack", "a", state_of("r1", 25), state_of("r2", 25))
    other = put(sweep, "other", "a", state_of("r3", 25))
    index = StateIndex(sweep)
    put(sweep, "pack", "b", state_of("r1", 50))
    put(sweep, "other", "b", state_of("r3", 50))
    for name in (older, other):
        sweep.objects.delete(name)
    index.refresh_pack("pack")
    assert (steps(index, "r1"), steps(index, "r2"), steps(index, "r3")) == ([50], [], [25])
    index.refresh()
    assert steps(index, "r3") == [50]


@pytest.mark.parametrize("n", [10, 2_000])
def test_what_an_event_costs_does_not_depend_on_the_store(n: int, tmp_path: Path) -> None:
    plan = make_plan(parse_spec(FORKS))
    objects = CountedRequests(open_objects(str(tmp_path)))
    sweep = SweepStore(objects, "made")
    sweep.create(FORKS, plan)
    fill(sweep, n, n)
    index = StateIndex(sweep)
    assert index.kept
    for attempt in "ab":
        put(sweep, "pack", attempt, state_of("r1", 50))
    ended, unended = list(plan.fork_parents.values())[:2]
    keep_state(sweep, state_of(ended.run_id, 20))

    objects.requests.clear()
    index.refresh_pack("pack", [ended, unended])
    assert [operation for operation, _ in objects.requests] == ["list", "read", "read", "read", "read"]
    assert (steps(index, ended.run_id), steps(index, unended.run_id), steps(index, "r1")) == ([20], [], [50, 50])
    objects.requests.clear()
    index.refresh_pack("pack", [ended])
    assert objects.requests == [("list", "made/checkpoints/pack")], "nothing is read twice"


def test_a_checkpoint_that_cannot_be_read_is_named_once_and_kept(sweep: SweepStore) -> None:
    name = put(sweep, "pack", "a", state_of("r1", 50))
    sweep.objects.put(name, b"damaged")
    with pytest.warns(UnreadableObjectWarning, match=f"skipped: {name}"):
        index = StateIndex(sweep)
    index.refresh()
    assert list(index.unreadable) == [name]
    index.delete_finished({"r1": 1000})
    assert sweep.objects.get(name) is not None
    sweep.objects.delete(name)
    index.refresh_pack("pack")
    assert index.unreadable == {}


def test_what_is_deleted_is_no_candidate_any_more(sweep: SweepStore) -> None:
    put(sweep, "pack", "a", state_of("r1", 50), state_of("r2", 60))
    index = StateIndex(sweep)
    index.delete_finished({"r1": 50, "r2": 50})
    assert steps(index, "r1") == [50]
    index.delete_finished({"r1": 50, "r2": 60})
    assert steps(index, "r1") == []
    assert not list(sweep.objects.list(sweep.layout.checkpoints))


def test_a_damaged_state_s_successor_is_read_though_its_object_was_read_meanwhile_for_another_run(
    sweep: SweepStore,
) -> None:
    damaged = put(sweep, "pack", "a", state_of("r1", 50))
    sweep.objects.put(damaged, b"damaged")
    both = put(sweep, "pack", "b", state_of("r1", 25), state_of("r2", 25))
    read = threading.Event()

    class Across(CountedRequests):
        """The damaged object's answer comes after the other's."""

        def open(self, name: str) -> BinaryIO | None:
            if name == damaged:
                assert read.wait(60)
            file = super().open(name)
            if name == both:
                read.set()
            return file

        def get(self, name: str) -> bytes | None:
            if name == damaged:
                assert read.wait(60)
            data = super().get(name)
            if name == both:
                read.set()
            return data

    candidates = {
        "r1": [StateRef("r1", 50, damaged), StateRef("r1", 25, both, 2)],
        "r2": [StateRef("r2", 25, both, 2)],
    }
    skipped: list[CorruptObjectError] = []
    reader = StateReader(cast(ObjectStore, Across(sweep.objects, parallel=16)), candidates, {}, skipped.append)
    reader.read(["r1", "r2"])
    found = {run_id: reader.take(run_id) for run_id in ("r1", "r2")}
    assert {run_id: state and state.step for run_id, state in found.items()} == {"r1": 25, "r2": 25}
    assert len(skipped) == 1
