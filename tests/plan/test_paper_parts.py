"""The parts of `grok-sweeps reproduce`: together the paper, each run once, and each scale within its time."""

from __future__ import annotations

import pytest

from grok_sweeps.analysis.claims import published
from grok_sweeps.analysis.reproduction import Lack
from grok_sweeps.cluster.costs import plan_cost
from grok_sweeps.cluster.reproduce.missing import lacks, left_out, tables_of
from grok_sweeps.cluster.reproduce.parts import PARTS, SCALES, Part, chosen, experiments, plan_of, written_by
from grok_sweeps.errors import SpecError
from grok_sweeps.plan import make_plan
from grok_sweeps.plan.rates import Pool
from grok_sweeps.results import open_store
from grok_sweeps.spec import load_spec, preset_names

WRITTEN = {part: written_by(part) for part in PARTS}


def runs_of(preset: str) -> frozenset[str]:
    return frozenset(run.run_id for run in make_plan(load_spec(preset)[0]).runs if not run.added)


def test_all_parts_together_are_paper_all() -> None:
    assert frozenset().union(*WRITTEN.values()) == runs_of("paper/all")
    whole = frozenset().union(*(plan_of(part).run_ids() for part in PARTS))
    assert whole == make_plan(load_spec("paper/all")[0]).run_ids()


def test_no_run_is_in_two_parts_and_no_two_sweeps_share_a_name() -> None:
    assert sum(map(len, WRITTEN.values())) == len(frozenset().union(*WRITTEN.values()))
    assert all(WRITTEN.values())
    assert len({part.sweep for part in PARTS}) == len(PARTS)


def test_a_larger_scale_has_every_part_of_a_smaller_one_and_full_has_all() -> None:
    smoke, cpu, full = (chosen(scale) for scale in SCALES)
    assert set(smoke) < set(cpu) < set(full) == set(PARTS)


@pytest.mark.parametrize("preset", experiments())
def test_only_an_experiment_trains_all_its_runs_also_those_it_shares(preset: str) -> None:
    parts = chosen("full", [preset])
    assert runs_of(preset) <= frozenset().union(*(WRITTEN[part] for part in parts))
    assert all(not runs_of(preset).isdisjoint(WRITTEN[part]) for part in parts)
    assert chosen("full", [preset.removeprefix("paper/")]) == parts


def test_every_experiment_of_paper_all_has_parts() -> None:
    assert frozenset().union(*map(runs_of, experiments())) == runs_of("paper/all")


def test_only_within_a_scale_is_what_the_scale_has_of_it() -> None:
    assert {part.p for part in chosen("smoke", ["paper/mediation-mse"])} == {59, 97}
    with pytest.raises(SpecError) as refused:
        chosen("smoke", ["paper/mediation-mse", "transformer"])
    assert str(refused.value) == "--only: scale smoke has no run of paper/transformer; use --scale full."


@pytest.mark.parametrize(
    ("name", "hint"),
    [("paper/colapse", " Did you mean 'paper/collapse'?"), ("colapse", " Did you mean 'paper/collapse'?"), ("x", "")],
)
def test_another_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(SpecError) as refused:
        chosen("full", [name])
    assert str(refused.value) == (
        f"--only: '{name}' is no experiment of the paper.{hint} Allowed: {', '.join(experiments())}."
    )


@pytest.mark.parametrize(("scale", "minutes"), [("smoke", 10), ("cpu", 90)])
def test_a_scale_is_planned_to_fit_its_time_on_two_cores(scale: str, minutes: int, tmp_path: object) -> None:
    store = open_store(str(tmp_path))
    wall_s = 0.0
    for part in chosen(scale):
        cost = plan_cost(plan_of(part), load_spec(part.preset)[0].execution, store, Pool(2, "cpu")).cost
        assert cost.wall_s is not None
        wall_s += cost.wall_s
    assert 0.5 * minutes < wall_s / 60 < 0.9 * minutes


def test_a_missing_number_says_which_part_it_needs_and_which_scale_has_it() -> None:
    smoke = chosen("smoke")
    left = {part: 0 if part in smoke else len(WRITTEN[part]) for part in PARTS}
    lacking = lacks("smoke", smoke, left)
    of = {(row.table, row.p, row.loss): lacking(row) for row in published()}
    text = "scale smoke leaves out paper/dose at p = 67; scale full trains it"
    assert of["exponential_law", 67, "ce"] == Lack(text, asked=False)
    assert of["mediation", 97, "mse"] is None
    assert of["calibration", 59, "ce"] is None
    collapse = of["collapse", 59, "ce"]
    assert collapse is not None
    assert collapse.reason == "scale smoke leaves out paper/collapse at p = 59; scale cpu trains it"


def test_several_parts_that_were_not_asked_for_are_in_one_sentence() -> None:
    parts = [Part("mediation-ce", 59, "cpu"), Part("collapse", 59, "cpu"), Part("dose", 59, "full")]
    assert left_out(parts[:2], "smoke") == (
        "scale smoke leaves out paper/mediation-ce at p = 59 and paper/collapse at p = 59; scale cpu trains them"
    )
    assert left_out(parts[1:], "cpu") == (
        "--only leaves out paper/collapse at p = 59; scale cpu leaves out paper/dose at p = 59; scale full trains it"
    )


def test_every_printed_number_but_the_inputs_has_parts_behind_it() -> None:
    lacking = lacks("full", (), dict.fromkeys(PARTS, 1))
    for row in published():
        lack = lacking(row)
        if row.table == "calibration":
            assert lack is None
        else:
            assert lack is not None
            assert lack.reason.startswith("--only leaves out paper/")


def test_a_part_that_is_under_way_says_how_many_runs_have_no_row() -> None:
    part = Part("allocation", 59, "cpu")
    lacking = lacks("full", PARTS, {one: 7 if one == part else 0 for one in PARTS})
    row = next(row for row in published() if row.table == "layer_allocation" and row.p == 59)
    assert lacking(row) == Lack("7 runs of paper/allocation at p = 59 have no row yet", asked=True)


def test_each_preset_of_the_paper_serves_a_table_of_it() -> None:
    mediation = ("mediation", "temperature sweep")
    assert tables_of("paper/mediation-mse") == tables_of("paper/mediation-ce-control") == mediation
    assert tables_of("paper/dose") == ("exponential law",)
    assert tables_of("quickstart") == ()
    assert tables_of("paper/all") == ("all",)
    printed = {table for name in preset_names() if name.startswith("paper/") for table in tables_of(name)}
    assert printed - {"all"} == {row.table.replace("_", " ") for row in published()} - {"calibration", "table"}
    assert all(tables_of(name) for name in preset_names() if name.startswith("paper/"))
