"""Numbers printed in arXiv:2606.18465, from its released p = 59 tables alone, to the last printed digit.

Every row of the printed table that these tables determine is asked, through the claims of one analysis of all of them;
which rows those are, is derived from the printed table itself, so that none can be forgotten.
"""

import csv

import pytest

from grok_sweeps.analysis.claims import SAME, published
from tests.analysis import recompute, reference

pytestmark = pytest.mark.skipif(
    not reference.RUNS.is_file(),
    reason="the paper's runs are not part of the repository: no ../shared/reference/p59_runs.csv",
)

NOT_DETERMINED = {
    "collapse": "eight of its twelve cells are not released",
    "softmax_collapse_audit": "its runs are not released",
    "calibration": "the norm when the last seed had grokked; ours is that of each seed",
}
RELEASED_GRID = {(1.0, 1.0), (1.15, 1.0), (1.15, 1.3), (1.15, 1.7)}


def expected() -> list[dict[str, str]]:
    path = reference.HERE / "published.csv"
    if not path.is_file():
        return []
    with path.open() as file:
        rows = [r for r in csv.DictReader(file) if r["p"] == "59" and r["table"] not in NOT_DETERMINED]
    return [r for r in rows if r["table"] != "collapse_grid" or (float(r["rho"]), float(r["tau"])) in RELEASED_GRID]


@pytest.mark.parametrize("row", expected(), ids=lambda r: "-".join(filter(None, recompute.key_of(r))))
def test_the_released_runs_give_the_printed_number(row):
    claim = recompute.determined()[recompute.key_of(recompute.normal(row))]
    assert claim.verdict == SAME, (claim.ours.value, row["value"])
    if row["lo"]:
        assert claim.ours.interval == pytest.approx((float(row["lo"]), float(row["hi"])), abs=0.01)


def test_no_other_number_is_said_to_be_determined():
    assert len(recompute.determined()) == len(expected()) > 80


def test_the_table_of_printed_numbers_is_the_papers():
    with (reference.HERE / "published.csv").open() as file:
        theirs = {recompute.key_of(recompute.normal(r)): (r["value"], r["lo"], r["hi"]) for r in csv.DictReader(file)}
    with recompute.FILE.open() as file:
        ours = {recompute.key_of(recompute.normal(r)): (r["value"], r["lo"], r["hi"]) for r in csv.DictReader(file)}
    # The one entry without a number, "did not grok", stands as a share of 0.
    different = [key for key in theirs if ours.get(key) != theirs[key]]
    assert [key[-1] for key in different] == ["grokked_step_float64"]
    assert theirs[different[0]][0] == ""
    assert len(ours) == len(theirs) == len(published())


def test_the_committed_recomputed_numbers_are_those_of_today():
    with recompute.FILE.open() as file:
        committed = list(csv.DictReader(file))
    columns = ("recomputed", "recomputed_lo", "recomputed_hi")
    for row, now in zip(committed, recompute.recomputed(), strict=True):
        for name in columns:
            assert bool(row[name]) == bool(now[name]), (row, now)
            if now[name]:
                assert float(row[name]) == pytest.approx(float(now[name]), rel=1e-4, abs=1e-6), (row, now)
