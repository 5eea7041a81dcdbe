"""The bench of the statistics on few seeds: every part is called, and takes no longer than the whole."""

from __future__ import annotations

from tests.bench import analyses


def test_every_part_of_an_analysis_and_of_its_report_is_timed() -> None:
    table = analyses.measure(n_seeds=3, resamples=10)
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == [*analyses.PARTS, analyses.WHOLE, *analyses.SHOWN, analyses.ALL]
    assert all(row[1] > 0 for row in table.rows)
    assert sum(rows[name][2] for name in analyses.PARTS) <= rows[analyses.WHOLE][2]
    assert rows["figures"][2] < rows[analyses.ALL][2]
