"""The bench of queries on a store of next to nothing: every question is answered, before and after compaction."""

from __future__ import annotations

from pathlib import Path

import pytest

from grok_sweeps.store import open_objects
from tests.bench import many_runs, results


def test_every_question_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "WARM_UPS", 1)
    monkeypatch.setattr(results, "REPEATS", 2)
    monkeypatch.setattr(many_runs.fill, "__defaults__", (20,))
    measured = dict(results.measure(open_objects(str(tmp_path)), 320, 960))
    assert list(measured) == ["under way", "compacted"]
    head, _, *lines = results.table(measured)
    assert len(lines) == len(results.questions(1))
    assert head.count("|") == lines[0].count("|")


def test_what_attempts_leave_is_asked_from_stores_opened_anew(tmp_path: Path) -> None:
    times = results.ask_attempts(open_objects(str(tmp_path)), 40)
    assert times["files of rows"] <= 4 * 3 + 1
    assert len(times) == 5
    assert all(seconds > 0 for seconds in times.values())
