"""Uses of Ray's private parts: each is there, each is in one module, and one that has moved is said in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ray.tune.experiment.trial import _TemporaryTrialState

import grok_sweeps
from grok_sweeps.cluster import ray_private
from grok_sweeps.cluster.ray_private import USES, draining_nodes, moved, node_of
from grok_sweeps.errors import ClusterError

CODE = Path(grok_sweeps.__path__[0])
PRIVATE = re.compile(
    r"ray\.(_\w+|core\.generated|tune\.(execution|experiment|impl|trainable)\b|air\._|\w+\._)|temporary_state|_actor_id"
    r"|\._do_request"
)


@pytest.mark.parametrize("use", USES)
def test_ray_has_what_is_used_of_its_private_parts(use: str) -> None:
    ray_private._part(use)


def test_a_trial_of_tune_holds_its_actor() -> None:
    assert _TemporaryTrialState().ray_actor is None


def test_ray_s_private_parts_are_used_in_one_module_alone() -> None:
    found = {
        (path.name, line.strip())
        for folder in (CODE, CODE / "cluster", CODE / "analysis")  # glob does not follow links
        for path in folder.glob("**/*.py")
        for line in path.read_text().splitlines()
        if PRIVATE.search(line)
    }
    assert {name for name, _ in found} == {"ray_private.py"}, found


def test_a_part_that_has_moved_is_said_in_one_line_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = "ray._private.state:state.was_here"
    monkeypatch.setattr(ray_private, "USES", {gone: "to have packs leave"})
    monkeypatch.setattr(ray_private, "DRAINING", gone)
    monkeypatch.setattr(ray_private, "ACTORS", gone)
    [line] = moved()
    assert re.fullmatch(r"Ray [\d.]+ has no ray\._private\.state\.state\.was_here, which is used to have .*", line)
    assert draining_nodes() == frozenset()
    assert node_of(object()) is None
    with pytest.raises(ClusterError, match="was_here"):
        ray_private.actors()
