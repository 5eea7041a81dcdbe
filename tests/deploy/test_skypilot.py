"""The SkyPilot task: its fields, and a run script that starts one Ray over the nodes."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from deploy_files import complaints, load

STRINGS = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
TASK: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "num_nodes", "resources", "setup", "run"],
    "properties": {
        "name": {"type": "string"},
        "workdir": {"type": "string"},
        "num_nodes": {"type": "integer", "minimum": 1},
        "resources": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "accelerators": {"type": "string", "pattern": r"^[A-Z0-9-]+:\d+$"},
                "cpus": {"type": ["string", "number"]},
                "disk_size": {"type": "integer"},
                "use_spot": {"const": True},
            },
        },
        "envs": {"type": "object", "additionalProperties": {"type": "string"}},
        "secrets": STRINGS,
        "setup": {"type": "string"},
        "run": {"type": "string"},
    },
}
"""The fields we use, as SkyPilot 0.14's schema has them; the task passes that schema too, which is no dependency."""


@pytest.fixture
def task() -> Any:
    return load("skypilot.yaml")


def test_it_has_fields_that_skypilot_knows(task: Any) -> None:
    jsonschema.validate(task, TASK)


def test_the_token_comes_from_whoever_launches_it(task: Any) -> None:
    assert task["secrets"] == {"RAY_AUTH_TOKEN": None}


@pytest.mark.parametrize("part", ["setup", "run"])
def test_its_shell_passes_shellcheck(part: str, task: Any) -> None:
    assert complaints("shellcheck", "--shell=bash", "--exclude=SC1091", "-", text=task[part]) == ""


def test_it_leaves_skypilots_own_ray_alone(task: Any) -> None:
    assert "ray stop" not in task["run"]
