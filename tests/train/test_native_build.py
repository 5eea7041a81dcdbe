"""The kernels' library: built once, found again, and a clear reason where it cannot be built."""

from __future__ import annotations

import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grok_sweeps.train.native import Kernels, NativeBuildError, build


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def compiler(folder: Path, script: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_library_is_built_once_and_loads(tmp_path: Path) -> None:
    path = build.library()
    assert path.parent == tmp_path / "cache" / "grok-sweeps"
    Kernels(str(path))
    written = path.stat().st_mtime_ns
    assert build.library() == path
    assert path.stat().st_mtime_ns == written
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no temporary files stay"


def test_workers_that_start_together_get_a_whole_library() -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: build.library(), range(4)))
    assert len(set(paths)) == 1
    Kernels(str(paths[0]))


def test_another_source_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.library()
    other = tmp_path / "kernels.cpp"
    other.write_text(build.SOURCE.read_text() + "\n// changed\n")
    monkeypatch.setattr(build, "SOURCE", other)
    assert build.library() != first


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('[ "$1" = --version ] && echo 1 || { echo "cannot find -lstdc++" >&2; exit 1; }', "cannot find -lstdc"),
        ("exit 3", "fails"),
    ],
)
def test_a_compiler_that_fails_is_named_with_what_it_said(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = compiler(tmp_path, script)
    monkeypatch.setenv("CXX", name)
    with pytest.raises(NativeBuildError, match=reason) as raised:
        build.library()
    assert name in str(raised.value)


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NativeBuildError, match=r"no C\+\+ compiler is found"):
        build.library()


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that cannot be written, and the folder of temporary files."""
    (tmp_path / "file").write_text("")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def test_where_home_cannot_be_written_all_of_a_users_processes_share_one_library(no_home: Path) -> None:
    path = build.library()
    assert build.library() == path
    (folder,) = no_home.iterdir()
    assert list(folder.iterdir()) == [path]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["open to others", "a link"])
def test_a_folder_that_might_be_anyones_is_not_loaded_from(kind: str, no_home: Path, tmp_path: Path) -> None:
    folder = no_home / f"grok-sweeps-cache-{os.getuid()}"
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(NativeBuildError, match="is not this user's alone; delete it or set XDG_CACHE_HOME"):
        build.library()
