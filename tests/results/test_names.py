"""A sweep's name is its folder, and an attempt's readings count once, whatever copies and old names lie about."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from results_rows import curve, grokked, new_sweep

from grok_sweeps.errors import StoreWarning
from grok_sweeps.results import Store, open_store
from grok_sweeps.results.curve_files import CurveIndex, Split, may_hold
from grok_sweeps.store import ObjectStore, SweepStore
from grok_sweeps.store.compact import compact, is_compact
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.tables import Held
from tests.written import write_results

STEPS = [1, 25, 50]
N_RUNS = 12


@contextmanager
def told() -> Iterator[list[str]]:
    """What the store warns of."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StoreWarning)
        yield lines
    lines += dict.fromkeys(str(warning.message) for warning in caught)


def write_run(sweep: SweepStore, k: int, attempt: str | None = None, **values: object) -> None:
    """A run of the sweep, as a worker writes it."""
    attempt = attempt or f"a{k}"
    row = grokked(f"r{k:02d}", 100, attempt=attempt, **{"sweep": sweep.sweep, **values})
    write_results(sweep, "pack", attempt, 1, [row], [curve(f"r{k:02d}", STEPS, attempt, sweep.sweep)])


def filled(objects: ObjectStore, name: str = "tiny") -> SweepStore:
    sweep = new_sweep(objects, name)
    for k in range(N_RUNS):
        write_run(sweep, k)
    return sweep


def copied(objects: ObjectStore, name: str, to: str) -> SweepStore:
    """As `cp -r` does."""
    for info in list(objects.list(name)):
        objects.put(f"{to}/{info.name.partition('/')[2]}", objects.get(info.name) or b"")
    return SweepStore(objects, to)


def moved(objects: ObjectStore, name: str, to: str) -> SweepStore:
    """As `mv` does."""
    new = copied(objects, name, to)
    for info in list(objects.list(name)):
        objects.delete(info.name)
    return new


def counts(store: Store, sweep: str | None = None) -> tuple[int, int, int]:
    """Rows of runs, of their cells, and of curves; each reading once."""
    curves = store.curves(sweep)
    assert not curves.duplicated(["sweep", "run_id", "attempt", "step"]).any()
    cells = store.cells(sweep)
    return len(store.runs(sweep)), int(cells.n_runs.sum()), len(curves)


WHOLE = (N_RUNS, N_RUNS, N_RUNS * len(STEPS))


@pytest.mark.parametrize("compacted", [False, True])
def test_a_renamed_folder_has_its_new_name_everywhere(compacted: bool, objects: ObjectStore) -> None:
    if compacted:
        compact(filled(objects))
    else:
        filled(objects)
    renamed = moved(objects, "tiny", "tiny-v1")
    store = Store(objects)
    with told() as lines:
        assert counts(store) == counts(store, "tiny-v1") == WHOLE
    assert lines == [
        "sweep 'tiny-v1': its spec.yaml says `name: tiny`. A sweep's name is its folder's: 'tiny-v1' counts. Write "
        "`name: tiny-v1` there, or rename the folder back."
    ]
    text = renamed.load_spec_text() or ""
    objects.put(renamed.layout.spec, text.replace("name: tiny", "name: tiny-v1").encode())
    store = Store(objects)
    for table in (store.runs(), store.cells(), store.curves(), store.curves(run_ids=["r01"]), store.sweeps()):
        assert set(table.sweep) == {"tiny-v1"}
    assert len(store.runs(sweep="tiny-v1", where="sweep = 'tiny-v1'")) == N_RUNS
    write_run(renamed, 99)
    assert set(store.runs().sweep) == {"tiny-v1"}
    assert len(store.runs()) == N_RUNS + 1


def test_what_a_compact_file_holds_is_known_in_a_renamed_folder(objects: ObjectStore) -> None:
    compact(filled(objects))
    renamed = moved(objects, "tiny", "other")
    objects.delete("other/rows/compact-none.parquet")
    names = [info.name for info in objects.list(renamed.layout.curves) if "compact-" not in info.name]
    assert len(names) == N_RUNS, "the files it was made of are still there"
    read = Store(objects)._reader.files.read(objects.list(renamed.layout.curves))
    assert [file.info.name for file in read] == [
        i.name for i in objects.list(renamed.layout.curves) if "compact" in i.name
    ]


@pytest.mark.parametrize("copy", ["tiny.bak", "a-copy"])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_copied_folder_counts_once_and_is_there_by_its_name(copy: str, compacted: bool, objects: ObjectStore) -> None:
    compact(filled(objects)) if compacted else filled(objects)
    copied(objects, "tiny", copy)
    store = Store(objects)
    with told() as lines:
        assert counts(store) == WHOLE
        assert set(store.runs().sweep) == set(store.curves().sweep) == set(store.cells().sweep) == {"tiny"}
        assert store.sweeps().set_index("sweep").runs_finished.to_dict() == {"tiny": N_RUNS, copy: N_RUNS}
    assert lines == [
        f"sweep '{copy}' holds {N_RUNS} runs by the same attempts as sweep 'tiny', as a copy does. "
        f"`export {copy}` or `runs('{copy}')` shows them; in SQL over all sweeps they are those of 'tiny'. Move one of "
        "the two out of the store."
    ]
    with told() as lines:
        assert counts(store, copy) == counts(store, "tiny") == WHOLE
        assert set(store.runs(copy).sweep) == set(store.curves(copy).sweep) == {copy}
        assert set(store.curves(copy, run_ids=["r03"]).sweep) == {copy}
    assert len(lines) == 1
    assert "its spec.yaml says `name: tiny`" in lines[0]


def test_of_two_copies_that_both_went_on_each_shows_what_it_trained(objects: ObjectStore) -> None:
    one = filled(objects)
    two = copied(objects, "tiny", "branch")
    write_run(one, 50, "ownofone")
    write_run(two, 50, "ownoftwo")
    write_run(two, 3, "longer", steps_run=900)
    store = Store(objects)
    with told():
        runs = store.runs()
        assert len(runs[runs.sweep == "tiny"]) == N_RUNS + 1
        assert sorted(runs[runs.sweep == "branch"].run_id) == ["r03", "r50"]
        assert len(store.curves()) == (N_RUNS + 3) * len(STEPS)
        assert len(store.runs("branch")) == N_RUNS + 1


def test_a_losing_attempt_in_a_copy_does_not_come_back(objects: ObjectStore) -> None:
    sweep = filled(objects)
    copied(objects, "tiny", "before")
    write_run(sweep, 3, "longer", steps_run=900)
    store = Store(objects)
    with told():
        assert len(store.runs()) == N_RUNS
        assert store.runs(run_id="r03").attempt.tolist() == ["longer"]
        assert len(store.curves()) == N_RUNS * len(STEPS)


def test_two_sweeps_that_trained_the_same_runs_keep_each_its_own(objects: ObjectStore) -> None:
    filled(objects)
    other = new_sweep(objects, "again")
    for k in range(N_RUNS):
        write_run(other, k, f"b{k}")
    store = Store(objects)
    assert counts(store) == tuple(2 * n for n in WHOLE)
    assert store.runs().groupby("sweep").size().to_dict() == {"again": N_RUNS, "tiny": N_RUNS}


CONFLICTED: dict[str, Callable[[str], str]] = {
    "conflicted copy": lambda name: name.replace(".parquet", " (conflicted copy).parquet"),
    "named by host": lambda name: name.replace(".parquet", "-HOST-2.parquet"),
    "syncthing": lambda name: name.replace(".parquet", ".sync-conflict-20260101-120000-ABCDEFG.parquet"),
}


@pytest.mark.parametrize("kinds", [("curves",), ("rows", "curves")], ids="+".join)
@pytest.mark.parametrize("style", CONFLICTED)
@pytest.mark.parametrize("state", ["small files", "compacted", "compacted, copies of what it holds", "twice compacted"])
def test_a_sync_tools_copy_of_a_file_changes_nothing(
    state: str, style: str, kinds: tuple[str, ...], tmp_path: Path
) -> None:
    sweep = filled(open_store(str(tmp_path)).objects)
    objects = sweep.objects
    folders = [f"{sweep.sweep}/{kind}" for kind in kinds]
    of_what = [info.name for folder in folders for info in objects.list(folder)]
    if state != "small files":
        compact(sweep)
        if state == "twice compacted":
            for k in range(N_RUNS, 2 * N_RUNS):
                write_run(sweep, k)
            compact(sweep)
        for folder in (sweep.layout.rows, sweep.layout.curves):
            for info in list(objects.list(folder)):
                if "compact-" not in info.name and state != "compacted, copies of what it holds":
                    objects.delete(info.name)
        if state != "compacted, copies of what it holds":
            of_what = [info.name for folder in folders for info in objects.list(folder)]
    for name in of_what:
        shutil.copy(tmp_path / name, tmp_path / CONFLICTED[style](name))
        if state == "compacted, copies of what it holds":
            objects.delete(name)
    n_runs = 2 * N_RUNS if state == "twice compacted" else N_RUNS
    store = Store(objects)
    assert counts(store) == (n_runs, n_runs, n_runs * len(STEPS))
    assert store.curves(run_ids=["r04"]).step.tolist() == STEPS
    log = RowLog(sweep)
    log.refresh()
    assert len(log.rows) == n_runs


def test_two_compactions_at_once_count_no_reading_twice(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = filled(objects)
    listed = {kind: list(objects.list(f"tiny/{kind}")) for kind in ("rows", "curves")}
    compact(sweep)
    for k in range(N_RUNS, N_RUNS + 3):
        write_run(sweep, k)
    first = {info.name for kind in listed for info in objects.list(f"tiny/{kind}") if "compact-" in info.name}
    whole = objects.list
    # The second listed before the first had written.
    with monkeypatch.context() as late:
        late.setattr(objects, "list", lambda prefix: (i for i in whole(prefix) if i.name not in first))
        compact(sweep)
    store = Store(objects)
    assert counts(store) == (N_RUNS + 3, N_RUNS + 3, (N_RUNS + 3) * len(STEPS))
    assert store.curves(run_ids=["r04"]).step.tolist() == STEPS


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_compact_file_made_of_compact_files_tells_every_original(
    times: int, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = filled(objects)
    compact(sweep)
    for again in range(1, times):
        for k in range(again * N_RUNS, (again + 1) * N_RUNS):
            write_run(sweep, k)
        compact(sweep)
    store, n_runs = Store(objects), times * N_RUNS
    found: list[Split] = []
    split = CurveIndex.split

    def noted(*given: Any) -> Split:
        found.append(split(*given))
        return found[-1]

    monkeypatch.setattr(CurveIndex, "split", noted)
    assert counts(store) == (n_runs, n_runs, n_runs * len(STEPS))
    assert len(found) == 1
    assert (len(found[0].whole), found[0].others, found[0].doubled) == (1, [], [])
    infos = list(objects.list(sweep.layout.curves))
    (newest,) = store._reader.files.read(infos)
    said = Store(objects)._reader.files.said_to_hold([newest.info])
    assert len(may_hold([newest.info], said, {"a0"})) == 1
    assert may_hold([newest.info], said, {"none"}) == []


def test_a_compact_file_of_an_older_version_may_hold_any_runs_curve(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the compact file that it was made of, and not what that held; nor does one that is made of it now."""
    sweep = filled(objects)
    compact(sweep)
    for k in range(N_RUNS, 2 * N_RUNS):
        write_run(sweep, k)
    with monkeypatch.context() as older:
        older.setattr("grok_sweeps.store.compact._all_held", lambda sources: Held(frozenset(sources)))
        compact(sweep)
    for folder in (sweep.layout.rows, sweep.layout.curves):
        infos = list(objects.list(folder))
        (newest,) = Store(objects)._reader.files.read([info for info in infos if is_compact(info.name)])
        for info in infos:
            if info != newest.info:
                objects.delete(info.name)
    for n_runs in (2 * N_RUNS, 3 * N_RUNS):
        store = Store(objects)
        assert counts(store) == (n_runs, n_runs, n_runs * len(STEPS))
        (file,) = store._reader.files.read(objects.list(sweep.layout.curves))
        said = store._reader.files.said_to_hold([file.info])
        assert may_hold([file.info], said, {"none"}) == [file.info]
        assert len(store.curves(run_ids=["r04"])) == len(STEPS)
        if n_runs < 3 * N_RUNS:
            for k in range(2 * N_RUNS, 3 * N_RUNS):
                write_run(sweep, k)
            compact(sweep)


def test_a_folder_whose_name_no_sweep_can_have_is_left_out_in_one_line(objects: ObjectStore) -> None:
    filled(objects)
    copied(objects, "tiny", "tiny (conflicted copy)")
    store = Store(objects)
    with told() as lines:
        assert store.sweep_names() == ["tiny"]
        assert counts(store) == WHOLE
    assert len(lines) == 1
    assert "'tiny (conflicted copy)'" in lines[0]
    assert "rename" in lines[0]
