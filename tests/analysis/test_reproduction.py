"""The paper's numbers as one table: every one has a row, ours or the reason; and released runs beside ours."""

import csv
import io
import json

import pandas as pd
import pytest

from grok_sweeps.analysis import analyze, render
from grok_sweeps.analysis.claims import DIFFERS, SAME, published
from grok_sweeps.analysis.released import REQUIRED, read_released, twins
from grok_sweeps.analysis.reproduction import (
    NO_VALUE,
    NOT_RUN,
    TABLES,
    UNFINISHED,
    VERDICTS,
    Lack,
    PartRuns,
    reproduction,
)
from grok_sweeps.errors import QueryError

W_C = 54.489295959472656
LEFT_OUT = "scale smoke leaves out it"


def baseline(step=3675, seeds=3, **values):
    cell = {
        "w_c": W_C,
        "rho": 1.0,
        "tau": 1.0,
        "seeding": "paper",
        "seeds_in_block": 12,
        "stop": "grokked",
        "max_steps": 40000,
    }
    return [{**cell, "grokked_step": step, "seed": seed, **values} for seed in range(seeds)]


@pytest.fixture
def made(make_runs, no_curves):
    analysis = analyze(make_runs(baseline()), no_curves, sweep="made", resamples=100)
    parts = (PartRuns("a part", "paper-a", 3, 3), PartRuns("another", "paper-b", 84, 0, LEFT_OUT))
    return reproduction(
        "The paper at scale smoke", analysis, parts, lambda p: None if p.p == 59 else Lack(LEFT_OUT, asked=False)
    )


def test_every_printed_number_has_a_row_and_those_without_a_value_a_reason(made):
    assert {row.printed for row in made.rows} == set(published())
    assert len(made.rows) == 214
    assert sum(made.count(verdict) for verdict in VERDICTS) == 214
    for row in made.rows:
        assert row.printed.table in TABLES
        assert (row.ours is None) == (row.verdict in (NO_VALUE, NOT_RUN))
        assert row.ours is not None or row.reason
    assert all(row.reason == LEFT_OUT for row in made.rows if row.verdict == NOT_RUN)


def test_a_number_that_the_runs_give_is_beside_the_published_and_the_released(made):
    (row,) = (r for r in made.of_table("mediation") if r.ours and r.printed.quantity == "grokked_step_baseline")
    assert (row.printed.text, row.ours.value, row.verdict) == ("3675", 3675.0, SAME)
    assert row.released.value == 3675.0


def test_an_estimate_without_a_value_gives_its_own_reason(made):
    (row,) = (r for r in made.of_table("mediation") if r.printed.quantity == "recovery_fraction" and r.printed.p == 59)
    assert (row.verdict, row.ours) == (NO_VALUE, None)
    assert "rho" in row.reason


def test_what_is_judged_on_part_of_its_runs_says_so(make_runs, no_curves):
    analysis = analyze(make_runs(baseline(step=9000, seeds=12)), no_curves, sweep="made", resamples=100)
    under_way = reproduction("x", analysis, (), lambda p: Lack("7 runs of it have no row yet", asked=True))
    (row,) = (r for r in under_way.of_table("mediation") if r.ours is not None)
    assert (row.verdict, row.reason) == (UNFINISHED, "7 runs of it have no row yet")


def test_a_complete_cell_is_judged_though_other_cells_of_its_table_were_not_asked_for(make_runs, no_curves):
    analysis = analyze(make_runs(baseline(step=9000, seeds=12)), no_curves, sweep="made", resamples=100)
    partly = reproduction("x", analysis, (), lambda p: Lack(LEFT_OUT, asked=False))
    (row,) = (r for r in partly.of_table("mediation") if r.ours is not None)
    assert (row.verdict, row.reason) == (DIFFERS, "")


def test_csv_and_json_have_every_number(made):
    rows = list(csv.DictReader(io.StringIO(render.claims_csv(made))))
    document = json.loads(render.claims_json(made))
    assert len(rows) == len(document["claims"]) == 214
    assert document["counts"] == {verdict: made.count(verdict) for verdict in VERDICTS}
    assert sum(document["counts"].values()) == 214
    assert [row["verdict"] for row in rows] == [claim["verdict"] for claim in document["claims"]]
    assert all(row["ours"] or row["reason"] for row in rows)


def test_both_pages_have_every_table_the_parts_and_the_reasons(made):
    html, markdown = render.reproduction_html(made), render.reproduction_markdown(made)
    for page in (html, markdown):
        for title in TABLES.values():
            assert title in page
        assert page.count(LEFT_OUT) == 1 + made.count(NOT_RUN)
        assert "paper-b" in page
        assert "None" not in page
    assert html.count("<tr><td") == 214 + 2
    lines = markdown.splitlines()
    assert sum(line.startswith("| p ") for line in lines) == 214
    tables = [line.count("|") - line.count("\\|") for line in lines if line.startswith("| p ")]
    assert set(tables) == {10}


def test_the_summary_counts_by_table(made):
    table = render.summary_table(made)
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == [*TABLES, "all"]
    assert [int(column[-1]) for column in cells[1:]] == [
        made.count(v) for v in VERDICTS if made.count(v) or v in VERDICTS[:4]
    ]


def released_rows(steps=(3675, 3675, 3700), **values):
    cell = {
        "source": "base.npz", "experiment": "mediation", "p": 59, "arch": "mlp", "loss": "ce", "arm": "clamp",
        "rho": 1.0, "tau": 1.0, "gamma": 0.0, "weight_decay": 1.0, "lr": 0.001, "clamp_from_step": 500.0, "w_c": W_C,
        "max_steps": 40000.0, "hidden": 256, "fork_step": None, "seeds_in_block": 12, "memorized_step": 175,
    }  # fmt: skip
    return pd.DataFrame([{**cell, "seed": seed, "grokked_step": step, **values} for seed, step in enumerate(steps)])


def test_released_runs_are_read_analysed_and_compared_seed_by_seed(tmp_path, make_runs, no_curves):
    file = tmp_path / "theirs.csv"
    released_rows((3675, 3650, 1000, -1)).to_csv(file, index=False)
    theirs = read_released([file])
    ours = make_runs(
        [*baseline(3675, seeds=4)[:3], {**baseline(seeds=4)[3], "grokked_step": None, "outcome": "censored"}]
    )
    found = twins(ours, theirs)
    assert (found.n_released, found.n_compared, found.n_equal, found.n_one_reading) == (4, 4, 2, 1)
    assert found.n_memorised_equal == 4
    assert "4 of the 4 released runs are here. 2 grok" in render.twins_line(found)
    claims = analyze(theirs, pd.DataFrame(), sweep=["mediation"], resamples=100).claims
    made = reproduction("x", analyze(ours, no_curves, sweep="made", resamples=100), (), lambda p: None, released=claims)
    (row,) = (r for r in made.of_table("mediation") if r.printed.quantity == "grokked_step_baseline" and r.ours)
    assert row.released.value == 3650.0


def test_runs_of_another_norm_or_seeding_have_no_twin(tmp_path, make_runs):
    file = tmp_path / "theirs.csv"
    released_rows().to_csv(file, index=False)
    theirs = read_released([file, file])
    assert len(theirs) == 3
    assert twins(make_runs(baseline(seeding="run")), theirs).n_compared == 0
    assert twins(make_runs(baseline(w_c=50.0)), theirs).n_compared == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read as CSV: No such file or directory."),
        ("", "cannot be read as CSV: No columns to parse from file."),
        ("a,b\n1,2\n", f"no column 'source'. It needs {', '.join(REQUIRED)}."),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, text, message):
    file = tmp_path / "theirs.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(QueryError) as refused:
        read_released([file])
    assert str(refused.value) == f"--released: {file}: {message}"


def test_a_misspelt_column_is_named(tmp_path):
    file = tmp_path / "theirs.csv"
    released_rows().rename(columns={"grokked_step": "grokked_steps"}).to_csv(file, index=False)
    with pytest.raises(QueryError, match=r"no column 'grokked_step'\. It has 'grokked_steps'\. It needs"):
        read_released([file])
