"""The bench of the driver's looks at its sweep: what it measures has seen every row."""

from __future__ import annotations

from pathlib import Path

from tests.bench import refreshes


def test_what_is_shown_after_the_looks_counts_every_row(tmp_path: Path) -> None:
    cost = refreshes.measure(str(tmp_path), 1_000)
    assert (cost.progress.runs, cost.cells) == (1_000, 100)
    assert cost.progress.finished == 500 + refreshes.REFRESHES * refreshes.NEW_ROWS
    assert sum(cell.finished for cell in cost.progress.cells) == cost.progress.finished
    assert min(cost.first_s, cost.refresh_s, cost.listing_s) > 0
