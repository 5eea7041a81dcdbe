"""The bench of the statistics on few seeds: every part is called, and takes no longer than the whole."""

from __future__ import annotations

from tests.bench import analyses


def test_every_part_of_an_analysis_is_timed() -> None:
    table = analyses.measure(n_seeds=3, resamples=10)
    *parts, whole = table.rows
    assert [row[0] for row in parts] == list(analyses.PARTS)
    assert all(row[1] > 0 for row in parts)
    assert sum(row[2] for row in parts) <= whole[2]
