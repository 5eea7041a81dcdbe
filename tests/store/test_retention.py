"""What nobody needs: never a state that a run, a longer budget or a fork goes on from."""

from __future__ import annotations

import random
import warnings
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from store_rows import row_of, state_of

from grok_sweeps.errors import UnreadableObjectWarning
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.schema import CURVES_SCHEMA
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore, open_objects
from grok_sweeps.store.ancestry import stored_ancestry
from grok_sweeps.store.checkpoints import keep_state, kept_steps
from grok_sweeps.store.retention import (
    LEFTOVER_AGE_S,
    PACK_AGE_S,
    bytes_by_kind,
    forked_elsewhere,
    unneeded_of_sweep,
)
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.states import encode_states
from tests.written import write_results

LATER = datetime.now(UTC).timestamp() + 10 * LEFTOVER_AGE_S
"""A time at which everything here is old."""


def checkpoint(sweep: SweepStore, number: int, steps: Mapping[str, int]) -> str:
    name = sweep.layout.checkpoint("pack", "a1", number)
    sweep.objects.put(name, encode_states([state_of(run_id, step) for run_id, step in steps.items()]))
    return name


def finish(sweep: SweepStore, steps: Mapping[str, int], outcome: str = "grokked") -> None:
    rows = [row_of(run_id, sweep=sweep.sweep, outcome=outcome, steps_run=step) for run_id, step in steps.items()]
    write_results(sweep, "pack", f"{outcome}-of-{min(steps)}", 1, rows, [CURVES_SCHEMA.empty_table()])


def whys(
    sweep: SweepStore, wanted: Collection[str] = (), *, at_work: bool = False, now: float = LATER, delete: bool = False
) -> dict[str, str]:
    plan, log = sweep.load_plan(), RowLog(sweep)
    assert plan is not None
    log.refresh()
    found = list(unneeded_of_sweep(sweep, plan, log.rows, wanted, at_work=at_work, now=now))
    sizes = {info.name: info.size for info in sweep.objects.list(sweep.sweep)}
    assert all(sizes.get(item.name, item.n_bytes) == item.n_bytes for item in found)
    if delete:
        for item in found:
            item.discard()
    return {item.name: item.why for item in found}


@pytest.fixture
def ids(plan: Plan) -> Sequence[str]:
    return [run.run_id for run in plan.runs]


class TestOnEveryBackend:
    def test_of_runs_under_way_only_what_is_superseded_is_listed(self, sweep: SweepStore, ids: Sequence[str]) -> None:
        a, b, *_ = ids
        older = checkpoint(sweep, 1, {a: 50, b: 50})
        checkpoint(sweep, 2, {a: 75, b: 75})
        checkpoint(sweep, 3, {b: 60})
        checkpoint(sweep, 4, {a: 10, ids[2]: 10})
        assert whys(sweep) == {older: "superseded", sweep.layout.checkpoint("pack", "a1", 3): "superseded"}
        whys(sweep, delete=True)
        assert {run: state.step for run, state in StateIndex(sweep).load_newest(ids).items()} == {
            a: 75,
            b: 75,
            ids[2]: 10,
        }
        assert whys(sweep) == {}

    def test_a_finished_sweep_needs_no_checkpoints_and_packs(self, sweep: SweepStore, ids: Sequence[str]) -> None:
        name = checkpoint(sweep, 1, dict.fromkeys(ids, 50))
        sweep.put_pack("p1", {"runs": []})
        finish(sweep, dict.fromkeys(ids, 100))
        expected = {name: "of finished runs", sweep.layout.pack("p1"): "packs of a finished sweep"}
        assert whys(sweep) == expected
        assert whys(sweep, at_work=True) == {name: "of finished runs"}
        written = {info.name: info.modified for info in sweep.objects.list(sweep.sweep)}
        young = written[sweep.layout.pack("p1")] + PACK_AGE_S - 1
        assert whys(sweep, now=young) == {name: "of finished runs"}, "a driver may just have begun"
        assert whys(sweep, delete=True) == expected
        kept = {info.name for info in sweep.objects.list(sweep.sweep)}
        assert kept == set(written) - set(expected)

    def test_sizes_are_told_by_kind(self, sweep: SweepStore, ids: Sequence[str]) -> None:
        name = checkpoint(sweep, 1, {ids[0]: 50})
        sweep.put_pack("p1", {"runs": []})
        sizes = {info.name: info.size for info in sweep.objects.list(sweep.sweep)}
        assert bytes_by_kind(sweep) == {
            "checkpoints": sizes[name],
            "packs": sizes[sweep.layout.pack("p1")],
            "sweep": sizes[sweep.layout.plan] + sizes[sweep.layout.spec],
        }


@pytest.fixture
def local(tmp_path: Path, spec_text: str, plan: Plan) -> SweepStore:
    store = SweepStore(open_objects(str(tmp_path / "store")), "made")
    store.create(spec_text, plan)
    return store


def test_a_checkpoint_whose_newer_one_is_damaged_is_needed(local: SweepStore, ids: Sequence[str]) -> None:
    checkpoint(local, 1, {ids[0]: 50})
    newer = checkpoint(local, 2, {ids[0]: 75})
    data = local.objects.get(newer) or b""
    local.objects.put(newer, data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    with pytest.warns(UnreadableObjectWarning, match=newer):
        assert whys(local) == {}


def test_a_checkpoint_beyond_a_censored_runs_row_is_needed(local: SweepStore, ids: Sequence[str]) -> None:
    finish(local, dict.fromkeys(ids, 100), "censored")
    for run_id in ids:
        keep_state(local, state_of(run_id, 100))
    checkpoint(local, 1, {ids[0]: 150})
    assert whys(local) == {}, "an interrupted resume --max-steps"


def test_the_newest_checkpoint_of_a_failed_run_stays(local: SweepStore, ids: Sequence[str]) -> None:
    finish(local, dict.fromkeys(ids, 100), "failed")
    older = checkpoint(local, 1, {ids[0]: 25})
    checkpoint(local, 2, {ids[0]: 50})
    assert whys(local) == {older: "superseded"}, "resume --failed goes on from the newer one"


def test_the_final_state_of_a_run_stays_and_an_earlier_one_goes(local: SweepStore, ids: Sequence[str]) -> None:
    censored, grokked, broken, under_way = ids
    finish(local, {censored: 200, broken: 200}, "censored")
    finish(local, {grokked: 250})
    for run_id, step in ((censored, 100), (censored, 200), (grokked, 100), (broken, 100), (under_way, 100)):
        keep_state(local, state_of(run_id, step))
    local.objects.put(local.layout.state(broken, 200), b"cut off")
    local.objects.put(local.layout.state("foreign", 1), b"")
    with pytest.warns(UnreadableObjectWarning, match="@200"):
        found = whys(local)
    assert found == {
        local.layout.state(censored, 100): "superseded",
        local.layout.state(grokked, 100): "superseded",
        local.layout.state("foreign", 1): "of runs that the plan does not have",
    }


def test_what_cannot_be_read_goes_with_the_sweeps_last_run_unless_a_newer_version_wrote_it(
    local: SweepStore, ids: Sequence[str]
) -> None:
    torn, newer = checkpoint(local, 1, {ids[0]: 50}), checkpoint(local, 2, {ids[0]: 75})
    local.objects.put(torn, b"torn")
    data = local.objects.get(newer) or b""
    local.objects.put(newer, data.replace(b'"schema":"1"', b'"schema":"9"'))
    finish(local, dict.fromkeys(ids[:-1], 100))
    assert whys(local) == {}
    finish(local, {ids[-1]: 100})
    assert whys(local, at_work=True) == {}
    assert whys(local) == {torn: "cannot be read"}


def test_only_an_old_leftover_has_lost_its_writer(local: SweepStore) -> None:
    folder = local.objects.path(local.layout.rows)
    assert folder is not None
    folder.mkdir()
    (folder / ".x.parquet.1234").write_bytes(b"12345")
    assert whys(local, now=datetime.now(UTC).timestamp()) == {}
    assert whys(local, delete=True) == {"made/rows/.x.parquet.1234": "left behind by a writer that died"}
    assert list(folder.iterdir()) == []


def fork_of(objects: ObjectStore, of: str, own: str = "") -> SweepStore:
    text = f"name: forked\nruns: {{{own}max_steps: 100, fork: {{of: {of}, at_step: 20}}}}\n"
    store = SweepStore(objects, "forked")
    store.create(text, make_plan(parse_spec(text), stored_ancestry(objects)))
    return store


def test_every_state_stays_that_a_fork_elsewhere_may_go_on_from(local: SweepStore, ids: Sequence[str]) -> None:
    run = ids[0]
    fork = fork_of(local.objects, f"made/{run}")
    checkpoint(local, 1, {run: 10})
    checkpoint(local, 2, {run: 50})
    wanted = forked_elsewhere([local, fork])
    assert wanted == {f"made/{run}"}
    assert whys(local, wanted) == {}
    fork_plan = fork.load_plan()
    assert fork_plan is not None
    (parent,) = (r for r in fork_plan.runs if r.origin)
    finish(fork, {parent.run_id: 20})
    keep_state(fork, state_of(parent.run_id, 20))
    assert forked_elsewhere([local, fork]) == frozenset(), "the parent has its own state now"
    assert len(whys(local)) == 1


def test_the_states_that_forks_of_the_sweep_start_from_stay(tmp_path: Path) -> None:
    store = fork_of(open_objects(str(tmp_path)), "control", "p: 5, seeds: 4, ")
    plan = store.load_plan()
    assert plan is not None
    for run_id in plan.run_ids():
        finish(store, {run_id: 100})
    for parent in set(plan.parents.values()):
        keep_state(store, state_of(parent, 20))
    checkpoint(store, 1, dict.fromkeys(plan.parents.values(), 10))
    assert list(whys(store).values()) == ["of finished runs"]
    parent = min(plan.parents.values())
    store.objects.delete(store.layout.state(parent, 20))
    assert whys(store) == {}, "a parent without its state is trained again, from here"


@pytest.mark.parametrize("seed", range(15))
def test_deleting_what_nobody_needs_changes_nothing_that_anybody_reads(
    seed: int, local: SweepStore, ids: Sequence[str]
) -> None:
    rng = random.Random(seed)
    for number in range(8):
        name = checkpoint(local, number, {run: rng.randrange(1, 200) for run in rng.sample(ids, rng.randint(1, 3))})
        if rng.random() < 0.3:
            data = local.objects.get(name) or b""
            at = rng.randrange(len(data))
            local.objects.put(name, rng.choice([data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]]))
    for run in ids:
        if rng.random() < 0.5:
            steps, outcome = rng.randrange(1, 200), rng.choice(["censored", "grokked", "diverged"])
            finish(local, {run: steps}, outcome)
            if outcome == "censored":
                keep_state(local, state_of(run, steps))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreadableObjectWarning)
        before = everything_read(local, ids)
        whys(local, delete=True)
        assert everything_read(local, ids) == before


def everything_read(sweep: SweepStore, ids: Sequence[str]) -> dict[str, Any]:
    """What a driver and its workers learn from the store of runs that have more to do, or may get a longer budget."""
    log = RowLog(sweep)
    log.refresh()
    ended = {run for run, row in log.rows.items() if row["outcome"] in ("grokked", "diverged")}
    steps = {run: max(state) for run, state in kept_steps(sweep).items()}
    states = {run: state.checksum() for run, state in StateIndex(sweep).load_newest(set(ids) - ended).items()}
    return {"rows": dict(log.rows), "steps": steps, "states": states, "plan": sweep.load_plan()}
