"""One sweep in the store: what is written once stays, and damage costs a state or a row, never a wrong number."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest
from safetensors.numpy import save
from store_rows import NOON, row_of, state_of

import grok_sweeps.store.rows
from grok_sweeps.errors import CorruptObjectError, StoreError, SweepConflictError, UnreadableObjectWarning
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.schema import CURVES_SCHEMA, RUNS_SCHEMA
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore
from grok_sweeps.store.checkpoints import keep_state, kept_state, kept_steps
from grok_sweeps.store.rows import NewRows, RowLog, delete_failed
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.states import LaneState, encode_states
from grok_sweeps.store.sweep import encode_plan
from grok_sweeps.store.tables import decode_table, encode_rows, encode_table
from grok_sweeps.store.todo import Todo
from tests.counted_requests import CountedRequests
from tests.written import write_results


def _put(sweep: SweepStore, pack: str, attempt: str, number: int, states: Sequence[LaneState]) -> str:
    name = sweep.layout.checkpoint(pack, attempt, number)
    sweep.objects.put(name, encode_states(states))
    return name


def _same(one: LaneState, two: LaneState) -> bool:
    return one.checksum() == two.checksum() and (one.run_id, one.facts) == (two.run_id, two.facts)


class TestASweepsNameIsItsRuns:
    def test_creating_it_twice_changes_nothing(self, sweep: SweepStore, spec_text: str, plan: Plan) -> None:
        sweep.create(spec_text + "# a comment\n", plan)
        assert sweep.objects.get(sweep.layout.spec) == spec_text.encode()
        assert sweep.load_plan() == plan
        assert sweep.load_spec() == parse_spec(spec_text)

    def test_a_spec_with_a_flipped_bit_is_named(self, sweep: SweepStore, spec_text: str) -> None:
        sweep.objects.put(sweep.layout.spec, bytes([spec_text.encode()[0] ^ 0x80]) + spec_text.encode()[1:])
        for read in (sweep.load_spec, sweep.load_spec_text):
            with pytest.raises(CorruptObjectError, match=r"made/spec\.yaml: damaged, not UTF-8 text"):
                read()

    def test_other_runs_under_its_name_are_refused(self, sweep: SweepStore, plan: Plan) -> None:
        text = "name: made\nruns: {p: 5, seeds: 6}\n"
        with pytest.raises(SweepConflictError, match=r"'made' is already in .*2 of .* new, 0 .*another name"):
            sweep.create(text, make_plan(parse_spec(text)))
        assert sweep.load_plan() == plan

    def test_a_race_of_two_specs_has_one_winner(self, objects: ObjectStore) -> None:
        texts = [f"name: made\nruns: {{p: 5, seeds: {k}}}\n" for k in (2, 3)]
        barrier = Barrier(2)

        def submit(text: str) -> str | None:
            barrier.wait()
            try:
                SweepStore(objects, "made").create(text, make_plan(parse_spec(text)))
            except SweepConflictError:
                return None
            return text

        with ThreadPoolExecutor(2) as pool:
            (winner,) = [text for text in pool.map(submit, texts) if text]
        assert SweepStore(objects, "made").load_plan() == make_plan(parse_spec(winner))

    def test_the_first_calibration_stays(self, sweep: SweepStore) -> None:
        assert sweep.load_calibration() == {}
        assert sweep.create_calibration({"c": {"w_c": 5.25}}) == {"c": {"w_c": 5.25}}
        assert sweep.create_calibration({"c": {"w_c": 9.0}}) == {"c": {"w_c": 5.25}}

    def test_what_is_missing_is_the_plan_without_its_rows(self, plan: Plan) -> None:
        done = plan.runs[1].run_id
        rows = {run_id: {"outcome": "grokked", "steps_run": 75} for run_id in (done, "foreign")}
        assert Todo(plan).runs(rows) == [r for r in plan.runs if r.run_id != done]

    def test_a_damaged_plan_or_pack_is_named(self, sweep: SweepStore) -> None:
        sweep.objects.put(sweep.layout.plan, b"PAR1")
        sweep.objects.put(sweep.layout.pack("abc"), b"{")
        with pytest.raises(CorruptObjectError, match=r"made/plan\.parquet"):
            sweep.load_plan()
        with pytest.raises(CorruptObjectError, match=r"made/packs/abc\.json: not valid JSON"):
            sweep.load_pack("abc")
        with pytest.raises(CorruptObjectError, match=r"made/packs/none\.json: missing; run the sweep again"):
            sweep.load_pack("none")

    def test_a_damaged_calibration_is_named_with_the_fix_and_never_believed(self, sweep: SweepStore) -> None:
        sweep.create_calibration({"c": {"w_c": 5.25}})
        data = sweep.objects.get(sweep.layout.calibration) or b""
        sweep.objects.put(sweep.layout.calibration, data.replace(b"5.25", b"5.35"))
        with pytest.raises(CorruptObjectError, match=r"made/calibration\.json: damaged.* Delete it: it is made again"):
            sweep.load_calibration()

    def test_a_plan_of_a_newer_version_is_not_called_damaged(self, sweep: SweepStore, plan: Plan) -> None:
        table = decode_table(encode_plan(plan), "x")
        metadata = {**table.schema.metadata, b"grok_sweeps_schema": b"9"}
        sweep.objects.put(sweep.layout.plan, encode_table(table.replace_schema_metadata(metadata)))
        for read in (sweep.load_plan, lambda: sweep.check_same(plan)):
            with pytest.raises(
                CorruptObjectError, match=r"made/plan\.parquet: written with schema 9.*upgrade"
            ) as caught:
                read()
            assert "Delete" not in str(caught.value)

    @pytest.mark.parametrize("torn", [b"", b'{"state": "runn', b'{"state": "running"}'])
    def test_a_damaged_heartbeat_is_told_and_stops_nobody(self, torn: bytes, sweep: SweepStore) -> None:
        sweep.objects.put(sweep.layout.status, torn)
        with pytest.warns(UnreadableObjectWarning, match=r"skipped: made/status\.json: "):
            assert sweep.load_status() is None
        sweep.put_status({"state": "running"})
        assert (sweep.load_status() or {})["state"] == "running"


class TestCheckpoints:
    def test_a_state_comes_back_bit_by_bit(self, sweep: SweepStore) -> None:
        states = [state_of("r1", 50), state_of("r2", 75)]
        _put(sweep, "pack", "a1", 1, states)
        loaded = StateIndex(sweep).load_newest(["r1", "r2", "r3"])
        assert set(loaded) == {"r1", "r2"}
        assert all(_same(loaded[s.run_id], s) for s in states)

    def test_the_newest_step_wins_whoever_wrote_it(self, sweep: SweepStore) -> None:
        _put(sweep, "pack", "a2", 7, [state_of("r1", 50), state_of("r2", 80)])
        _put(sweep, "other", "a1", 1, [state_of("r1", 75), state_of("r2", 60)])
        assert {k: s.step for k, s in StateIndex(sweep).load_newest(["r1", "r2"]).items()} == {"r1": 75, "r2": 80}

    @pytest.mark.parametrize("damage", ["flipped", "truncated", "foreign", "empty", "newer"])
    def test_a_damaged_state_gives_way_to_the_older_one(self, damage: str, sweep: SweepStore) -> None:
        _put(sweep, "pack", "a1", 1, [state_of("r1", 50)])
        name = _put(sweep, "pack", "a1", 2, [state_of("r1", 75)])
        data = sweep.objects.get(name)
        assert data is not None
        made = {
            "flipped": data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
            "truncated": data[:-10],
            "foreign": b"\x80\x04 not safetensors",
            "empty": b"",
            "newer": data.replace(b'"schema":"1"', b'"schema":"9"'),
        }[damage]
        assert made != data
        sweep.objects.put(name, made)
        with pytest.warns(UnreadableObjectWarning, match=name):
            loaded = StateIndex(sweep).load_newest(["r1"])
        assert _same(loaded["r1"], state_of("r1", 50))

    def test_no_flipped_bit_anywhere_gives_a_wrong_state(self, sweep: SweepStore) -> None:
        state = state_of("r1", 75)
        name = _put(sweep, "pack", "a1", 1, [state])
        data = encode_states([state])
        n_flips = 200 if sweep.objects.parallel == 1 else 30
        for position in random.Random(0).sample(range(len(data)), n_flips):
            sweep.objects.put(name, data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnreadableObjectWarning)
                loaded = StateIndex(sweep).load_newest(["r1"])
            assert "r1" not in loaded or _same(loaded["r1"], state), position

    def test_files_of_others_among_the_checkpoints_are_skipped_with_their_names(self, sweep: SweepStore) -> None:
        _put(sweep, "pack", "a1", 1, [state_of("r1", 50)])
        folder = sweep.layout.checkpoints
        sweep.objects.put(f"{folder}/notes.txt", b"mine")
        sweep.objects.put(f"{folder}/pack/model.safetensors", bytes(save(dict(state_of("r1", 75).tensors))))
        with pytest.warns(UnreadableObjectWarning, match=r"model\.safetensors: not a checkpoint of this project"):
            loaded = StateIndex(sweep).load_newest(["r1"])
        assert loaded["r1"].step == 50

    def test_a_checkpoint_that_was_replaced_since_it_was_listed_is_found_in_its_folder(
        self, sweep: SweepStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _put(sweep, "pack", "a0", 1, [state_of("r1", 25)])
        older = _put(sweep, "pack", "a1", 1, [state_of("r1", 50)])
        index = StateIndex(sweep)
        _put(sweep, "pack", "a1", 2, [state_of("r1", 75)])
        sweep.objects.delete(older)
        listed, really_list = list[str](), sweep.objects.list
        monkeypatch.setattr(sweep.objects, "list", lambda name: listed.append(name) or really_list(name))
        kept = index.kept
        listed.clear()
        assert index.load_newest(["r1"])["r1"].step == 75
        assert (listed, kept) == ([f"{sweep.layout.checkpoints}/pack"], {}), "nothing is listed but the pack's folder"

    def test_only_checkpoints_of_finished_runs_are_deleted(self, sweep: SweepStore) -> None:
        done = _put(sweep, "pack", "a1", 1, [state_of("r1", 50)])
        mixed = _put(sweep, "pack", "a1", 2, [state_of("r1", 75), state_of("r2", 75)])
        StateIndex(sweep).delete_finished({"r1": 75})
        assert sweep.objects.get(done) is None
        assert sweep.objects.get(mixed) is not None

    def test_the_checkpoint_of_a_run_that_is_trained_past_its_row_stays(self, sweep: SweepStore) -> None:
        name = _put(sweep, "pack", "a1", 1, [state_of("r1", 75)])
        StateIndex(sweep).delete_finished({"r1": 50})
        assert sweep.objects.get(name) is not None

    def test_a_kept_state_is_found_by_its_run_and_step(self, sweep: SweepStore) -> None:
        keep_state(sweep, state_of("r1", 50))
        _put(sweep, "pack", "a1", 1, [state_of("r1", 25), state_of("r2", 80)])
        sweep.objects.put(f"{sweep.layout.states}/notes.txt", b"foreign")
        assert kept_steps(sweep) == {"r1": {50}}
        kept = kept_state(sweep, "r1", 50)
        assert kept is not None
        assert _same(kept, state_of("r1", 50))
        assert kept_state(sweep, "r1", 25) is None
        assert {k: s.step for k, s in StateIndex(sweep).load_newest(["r1", "r2"]).items()} == {"r1": 50, "r2": 80}
        assert {k: s.step for k, s in StateIndex(sweep).load_newest(["r1", "r2"], at_most=30).items()} == {"r1": 25}

    def test_a_kept_state_under_another_name_is_refused(self, sweep: SweepStore) -> None:
        sweep.objects.put(sweep.layout.state("r1", 60), encode_states([state_of("r1", 50)]))
        with pytest.raises(CorruptObjectError, match=r"states/r1@60\.safetensors"):
            kept_state(sweep, "r1", 60)


class TestRows:
    def test_each_file_is_read_once_and_each_row_is_new_once_to_each_reader(self, sweep: SweepStore) -> None:
        counted: Any = CountedRequests(sweep.objects)
        log = RowLog(SweepStore(counted, sweep.sweep))
        first, second = NewRows(log), NewRows(log)
        curves = [CURVES_SCHEMA.empty_table()]
        write_results(sweep, "pack", "a1", 1, [row_of("r2", finished_at=NOON), row_of("r1")], curves)
        log.refresh()
        assert set(first.take()) == {"r1", "r2"}
        write_results(sweep, "pack", "a1", 2, [row_of("r1"), row_of("r3")], curves)
        log.refresh()
        log.refresh()
        assert set(first.take()) == {"r3"}, "r1 has the row that it had"
        assert set(second.take()) == {"r1", "r2", "r3"}
        assert first.take() == second.take() == {}
        read = [name for request, name in counted.requests if request == "read"]
        assert len(read) == len(set(read)) == 2

    def test_a_row_that_takes_another_s_place_is_new_again(self, sweep: SweepStore) -> None:
        log = RowLog(sweep)
        new = NewRows(log)
        for attempt, steps in (("a1", 100), ("a2", 300), ("a3", 200)):
            rows = [row_of("r1", attempt=attempt, steps_run=steps)]
            write_results(sweep, "pack", attempt, 1, rows, [CURVES_SCHEMA.empty_table()])
            log.refresh()
            assert {run_id: row["steps_run"] for run_id, row in new.take().items()} == (
                {} if attempt == "a3" else {"r1": steps}
            )

    def test_rows_can_be_gone_through_and_looked_up_while_new_ones_come_in(self, sweep: SweepStore) -> None:
        log = RowLog(sweep)
        curves = [CURVES_SCHEMA.empty_table()]
        write_results(sweep, "pack", "a1", 1, [row_of("r1"), row_of("r2")], curves)
        log.refresh()
        seen = []
        for run_id, row in log.rows.items():
            write_results(sweep, "pack", f"b{run_id}", 1, [row_of(f"new-{run_id}")], curves)
            log.refresh()
            assert log.rows[f"new-{run_id}"]["outcome"] == row["outcome"]
            seen.append(run_id)
        assert seen == ["r1", "r2"], "those of one moment"
        assert set(log.rows) == {"r1", "r2", "new-r1", "new-r2"}

    def test_rows_that_were_read_before_the_store_failed_are_not_read_again(
        self, sweep: SweepStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in (1, 2):
            write_results(sweep, "pack", "a1", number, [row_of(f"r{number}")], [CURVES_SCHEMA.empty_table()])
        log = RowLog(sweep)

        def fails_after_one(objects: ObjectStore, names: Sequence[str]) -> Iterator[bytes | None]:
            yield objects.get(names[0])
            raise StoreError("away")

        with monkeypatch.context() as patch:
            patch.setattr(grok_sweeps.store.rows, "get_each", fails_after_one)
            with pytest.raises(StoreError, match="away"):
                log.refresh()
        assert len(log.rows) == log.n_files == 1
        log.refresh()
        assert set(log.rows) == {"r1", "r2"}

    def test_one_row_a_run_stays_the_longest_then_the_earliest(self, sweep: SweepStore) -> None:
        late = NOON + timedelta(hours=1)
        rows = [
            ("a1", row_of("r1", attempt="a1", steps_run=100, finished_at=NOON)),
            ("a2", row_of("r1", attempt="a2", steps_run=200, finished_at=late)),
            ("a3", row_of("r1", attempt="a3", steps_run=200, finished_at=NOON)),
        ]
        for attempt, row in rows:
            write_results(sweep, "pack", attempt, 1, [row], [CURVES_SCHEMA.empty_table()])
        log = RowLog(sweep)
        log.refresh()
        assert log.rows["r1"]["attempt"] == "a3"

    def test_a_row_that_failed_gives_way_to_one_that_did_not(self, sweep: SweepStore) -> None:
        rows = [
            ("a1", row_of("r1", attempt="a1", steps_run=900, outcome="failed")),
            ("a2", row_of("r1", attempt="a2", steps_run=100)),
            ("a3", row_of("r1", attempt="a3", steps_run=1000, outcome="failed")),
        ]
        log = RowLog(sweep)
        for attempt, row in rows:
            write_results(sweep, "pack", attempt, 1, [row], [CURVES_SCHEMA.empty_table()])
            log.refresh()
        assert log.rows["r1"]["attempt"] == "a2"

    def test_only_rows_of_failed_runs_are_deleted_and_their_runs_are_missing_again(self, sweep: SweepStore) -> None:
        curves = [CURVES_SCHEMA.empty_table()]
        write_results(sweep, "pack", "a1", 1, [row_of("r1"), row_of("r2", outcome="diverged")], curves)
        write_results(sweep, "pack", "a2", 1, [row_of("r3", outcome="failed", error="no")], curves)
        sweep.objects.put("made/rows/bad.parquet", b"not parquet")
        assert delete_failed(sweep) == 1
        assert delete_failed(sweep) == 0
        sweep.objects.delete("made/rows/bad.parquet")
        log = RowLog(sweep)
        log.refresh()
        assert set(log.rows) == {"r1", "r2"}

    @pytest.mark.parametrize("damage", [b"", b"PAR1 junk", b"PAR1" + b"\x00" * 100 + b"PAR1"])
    def test_a_file_that_cannot_be_read_is_skipped_with_its_name(self, damage: bytes, sweep: SweepStore) -> None:
        write_results(sweep, "pack", "a1", 1, [row_of("r1")], [CURVES_SCHEMA.empty_table()])
        sweep.objects.put("made/rows/bad.parquet", damage)
        log = RowLog(sweep)
        with pytest.warns(UnreadableObjectWarning, match=r"made/rows/bad\.parquet"):
            log.refresh()
        assert set(log.rows) == {"r1"}

    def test_no_flipped_bit_anywhere_gives_a_wrong_row(self) -> None:
        rows = [row_of(f"r{k}", grokked_step=100 + k) for k in range(3)]
        data = encode_rows(rows, RUNS_SCHEMA)
        written = decode_table(data, "x").to_pylist()
        refused = 0
        for position in random.Random(0).sample(range(len(data)), 300):
            flipped = data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
            try:
                assert decode_table(flipped, "x").to_pylist() == written, position
            except CorruptObjectError:
                refused += 1
        assert refused > 100

    def test_a_newer_schema_is_refused_with_the_fix(self) -> None:
        newer = RUNS_SCHEMA.with_metadata({b"grok_sweeps_schema": b"2"})
        data = encode_table(pa.Table.from_pylist([row_of("r1")], schema=newer))
        with pytest.raises(CorruptObjectError, match=r"x\.parquet: written with schema 2.*upgrade grok-sweeps"):
            decode_table(data, "x.parquet")

    def test_a_column_that_the_schema_lacks_is_a_bug(self) -> None:
        with pytest.raises(ValueError, match="columns not in the schema: \\['groked_step'\\]"):
            encode_rows([row_of("r1", groked_step=1)], RUNS_SCHEMA)


def test_a_plan_that_was_lost_is_written_again_from_the_spec(sweep: SweepStore, spec_text: str, plan: Plan) -> None:
    sweep.objects.delete(sweep.layout.plan)
    sweep.create(spec_text, plan)
    assert sweep.load_plan() == plan
