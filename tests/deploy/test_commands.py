"""Every command in the deploy files and in the runbook is one that its program takes, and every file named is there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from deploy_files import DEPLOY, DOCKERFILE, ROOT, load, load_compose
from documented_commands import check, code_blocks, commands_in

README = (DEPLOY / "README.md").read_text()


def shell_of_the_files() -> Iterator[tuple[str, str]]:
    """Yield (file, shell) of whatever the files have run."""
    for kind in ("raycluster", "rayjob"):
        spec = load(f"kuberay/{kind}.yaml")["spec"]
        for group in spec.get("rayClusterSpec", spec)["workerGroupSpecs"]:
            for container in group["template"]["spec"]["containers"]:
                yield kind, shlex.join(container["lifecycle"]["preStop"]["exec"]["command"])
    yield "rayjob", load("kuberay/rayjob.yaml")["spec"]["entrypoint"]
    for key, value in load("aws/cluster.yaml").items():
        if key.endswith("_commands"):
            yield "aws", "\n".join(value)
    for service in load_compose()["services"].values():
        yield "compose", shlex.join([*service.get("entrypoint", ()), *_listed(service["command"])])
        for hook in service.get("pre_stop", ()):
            yield "compose", shlex.join(hook["command"])
    task = load("skypilot.yaml")
    yield "skypilot", task["setup"] + task["run"]
    for arguments in re.findall(r"^CMD (\[\"grok-sweeps.*\])$", DOCKERFILE, flags=re.MULTILINE):
        yield "image", shlex.join(json.loads(arguments))


def _listed(command: Any) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else list(command)


CALLS = [(file, words) for file, shell in shell_of_the_files() for words in commands_in(shell)]
CLIENT = "docker compose -f deploy/compose.yaml run --rm client"


def shell_of_the_runbook() -> Iterator[str]:
    """Yield its blocks, and the commands of its tables; what runs in compose's client is the client's entrypoint."""
    for block in code_blocks(README, "bash"):
        yield block.replace(CLIENT, "grok-sweeps")
    yield from re.findall(r"`((?:grok-sweeps|ray) \S+ [^`\n]+)`", README)


README_CALLS = [words for shell in shell_of_the_runbook() for words in commands_in(shell)]


@pytest.mark.parametrize(("file", "words"), CALLS, ids=[f"{file}: {' '.join(words)}"[:80] for file, words in CALLS])
def test_every_command_of_a_deploy_file_parses(file: str, words: list[str]) -> None:
    check(words)


@pytest.mark.parametrize("words", README_CALLS, ids=[" ".join(words)[:80] for words in README_CALLS])
def test_every_command_of_the_runbook_parses(words: list[str]) -> None:
    check(words)


def test_the_files_hold_the_commands_that_matter() -> None:
    """The parser above finds what it is there for."""
    texts = {f"{file}: {' '.join(words)}" for file, words in CALLS}
    for text in (
        "raycluster: python -m grok_sweeps.cluster.leave_node",
        "compose: python -m grok_sweeps.cluster.leave_node",
        "aws: python -m grok_sweeps.cluster.leave_node",
        "aws: ray start --address=$RAY_HEAD_IP:6379",
        "skypilot: grok-sweeps run paper/collapse --address auto --wait-for-nodes 900",
        "image: grok-sweeps --help",
    ):
        assert text in texts
    assert any(text.startswith("rayjob: grok-sweeps run paper/collapse --address auto --store s3://") for text in texts)


def test_every_file_that_the_runbook_names_exists() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]*\w", README)) - {"deploy/.env"}  # which its reader makes
    assert {path for path in named if not (ROOT / path).exists()} == set()
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^):]+)\)", README)}
    assert {link for link in linked if link and not (DEPLOY / link).exists()} == set()


def test_the_runbook_names_every_deploy_file() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "README.md"]
    assert [path.name for path in files if path.relative_to(ROOT).as_posix() not in README] == []
