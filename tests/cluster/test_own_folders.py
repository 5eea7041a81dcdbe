"""A user's own folders `cluster` and `analysis` shadow nothing of ours; without them those names are ours."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import _zip_files

import grok_sweeps
from grok_sweeps.cluster.jobs.shipping import shipped
from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import open_store

ROOT = Path(grok_sweeps.__path__[0]).parent
MINE = """\
import grok_sweeps as gs
from grok_sweeps.analysis import render
import grok_sweeps.cluster.cli.app

assert gs.analyze.__module__ == "grok_sweeps.analysis.entry"
try:
    import cluster
except RuntimeError as error:
    assert str(error) == "mine", error
else:
    raise AssertionError("this folder's is not found")
"""
OURS = """\
import sys
import analysis, analysis.table.cells, cluster.cli.app
from analysis import analyze, render
import grok_sweeps as gs, grok_sweeps.analysis.table.cells, grok_sweeps.cluster.cli.app

for name in [name for name in sys.modules if name.split(".")[0] in ("analysis", "cluster")]:
    assert sys.modules[name] is sys.modules["grok_sweeps." + name], name
assert gs.analyze is analyze and gs.cluster.cli.app.__spec__.name == "grok_sweeps.cluster.cli.app"
try:
    import cluster.nothing
except ModuleNotFoundError as error:
    assert error.name == "cluster.nothing"
"""


def python(*arguments: str, cwd: Path, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder that has both names."""
    for name in ("cluster", "analysis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('raise RuntimeError("mine")\n')
    (tmp_path / "script.py").write_text(MINE)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        pytest.param(["script.py"], str(ROOT), id="a script in the folder"),
        pytest.param(["-c", MINE], str(ROOT), id="a notebook in the folder"),
        pytest.param(["-c", MINE], f".{os.pathsep}{ROOT}", id="PYTHONPATH=."),
    ],
)
def test_a_user_s_own_folders_shadow_nothing_of_ours(folder: Path, arguments: list[str], path: str) -> None:
    done = python(*arguments, cwd=folder, path=path)
    assert done.returncode == 0, done.stderr


def test_a_sweep_trains_beside_a_user_s_own_folders(folder: Path, small_plan: Callable[..., tuple[str, Plan]]) -> None:
    (folder / "own.yaml").write_text(small_plan("own", {"workers": 1})[0])
    command = ("-m", "grok_sweeps.cluster.cli", "run", "own.yaml", "--store", "store")
    done = python(*command, cwd=folder, path=f".{os.pathsep}{ROOT}")
    assert done.returncode == 0, done.stderr
    assert open_store(str(folder / "store")).runs("own").outcome.tolist() == ["grokked"] * 2


def test_the_bare_names_are_the_same_modules(tmp_path: Path) -> None:
    done = python("-c", OURS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_bare_names_can_be_run(tmp_path: Path) -> None:
    done = python("-W", "error::RuntimeWarning", "-m", "cluster.cli", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resume" in done.stdout


def test_what_is_shipped_holds_all_of_the_code(tmp_path: Path) -> None:
    environment = shipped()
    [module] = environment["py_modules"]
    _zip_files(module, environment["excludes"], str(tmp_path / "code.zip"), True, include_parent_dir=True)
    names = set(zipfile.ZipFile(tmp_path / "code.zip").namelist())
    for package in ("grok_sweeps", "cluster", "analysis"):
        inside = "grok_sweeps" if package == "grok_sweeps" else f"grok_sweeps/{package}"
        here = ROOT / inside
        files = [p.relative_to(here) for p in here.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        assert len(files) > 30
        assert {f"{inside}/{p.as_posix()}" for p in files} <= names


def test_a_checkout_without_symbolic_links_says_so(tmp_path: Path) -> None:
    package = tmp_path / "grok_sweeps"
    package.mkdir()
    (package / "__init__.py").write_text((ROOT / "grok_sweeps" / "__init__.py").read_text())
    (package / "cluster").write_text("../cluster")
    done = python("-c", "import grok_sweeps", cwd=tmp_path, path=str(tmp_path))
    assert done.stderr.splitlines()[-1].startswith("ImportError: grok_sweeps/cluster and grok_sweeps/analysis of this")
