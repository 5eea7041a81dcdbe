"""Where a local Ray's files lie on machines that are odd, and what is said of machines that cannot hold them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from grok_sweeps.cluster import ray_folder, settings
from grok_sweeps.cluster.doctor import Level
from grok_sweeps.cluster.doctor.machine import shared_memory_check, temporary_check
from grok_sweeps.cluster.local_ray import LocalRay
from grok_sweeps.cluster.ray_folder import LONGEST_BASE, RayFolder, find_base, plasma_folder, scratch_folder, trouble
from grok_sweeps.cluster.resources import Resources
from grok_sweeps.errors import ClusterError

LONG = "x" * 95
Stat = namedtuple("Stat", ["f_bavail", "f_frsize"])


@pytest.fixture
def short() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_is_long_or_not_there_is_passed_over(short: Path) -> None:
    long, gone = short / LONG, short / "gone"
    long.mkdir()
    base, wrong = find_base([long, gone, "relative", short])
    assert base == short
    assert [line.split(" ", 1)[0] for line in wrong] == [str(long), str(gone), "relative"]
    assert f"has {len(str(long))} characters" in wrong[0]
    assert "No such file or directory" in wrong[1]
    assert list(short.iterdir()) == [long]


def test_a_socket_fits_below_the_longest_base_and_no_further(short: Path) -> None:
    base = short / ("b" * (LONGEST_BASE - len(str(short)) - 1))
    base.mkdir()
    folder = RayFolder([base])
    sockets = folder.path / "session_2026-12-31_23-59-59_999999_4194304" / "sockets"
    sockets.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(sockets / "plasma_store"))
    folder.remove()
    assert list(base.iterdir()) == []
    assert trouble(base.with_name(base.name + "b")) == (
        f"has {LONGEST_BASE + 1} characters, and sockets leave room for {LONGEST_BASE}"
    )


def test_the_folder_is_its_users_alone(short: Path) -> None:
    folder = RayFolder([short])
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_full_disk_is_passed_over_with_its_numbers(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_folder.os, "statvfs", lambda _: Stat(1000, 4096))
    assert trouble(short) == "has 4 MB free, and Ray needs 21 MB"


def test_without_any_folder_there_is_one_line_with_the_fix(short: Path) -> None:
    with pytest.raises(ClusterError) as raised:
        RayFolder([short / LONG, short / "gone"])
    assert "\n" not in str(raised.value)
    for part in (str(short / LONG), f"{short / 'gone'} cannot be written", "set RAY_TMPDIR to a folder"):
        assert part in str(raised.value)
    with pytest.raises(ClusterError, match="set TMPDIR"):
        scratch_folder([short / "gone"])


def test_the_doctor_says_where_and_why_not(short: Path) -> None:
    assert temporary_check([short]).level is Level.ok
    passed_over = temporary_check([short / LONG, short])
    assert (passed_over.level, "RAY_TMPDIR" in passed_over.fix) == (Level.warning, True)
    assert f"in {short}, since {short / LONG} has" in passed_over.text
    none = temporary_check([short / "gone"])
    assert (none.level, "RAY_TMPDIR" in none.fix) == (Level.failure, True)


def test_the_object_store_lies_elsewhere_where_shared_memory_is_small_or_not_there(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plasma_folder(short, short / "no-shm") == str(short)
    assert shared_memory_check(short / "no-shm").level is Level.warning
    monkeypatch.setattr(ray_folder.os, "statvfs", lambda _: Stat(64 << 10, 1024))
    assert plasma_folder(short, short) == str(short)
    small = shared_memory_check(short)
    assert (small.level, "--shm-size" in small.fix) == (Level.warning, True)
    monkeypatch.setattr(ray_folder.os, "statvfs", lambda _: Stat(200 << 10, 1024))
    assert plasma_folder(short, short) is None
    assert shared_memory_check(short).level is Level.ok


def test_the_token_is_of_this_process_and_a_users_own_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with settings.own_token():
        assert os.environ["RAY_AUTH_MODE"] == "token"
        first = os.environ["RAY_AUTH_TOKEN"]
        assert len(first) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert "RAY_AUTH_MODE" not in os.environ
    with settings.own_token():
        assert os.environ["RAY_AUTH_TOKEN"] != first
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with settings.own_token():
        assert os.environ["RAY_AUTH_TOKEN"] == "mine"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with settings.own_token():
        assert os.environ["RAY_AUTH_MODE"] == "disabled"
        assert "RAY_AUTH_TOKEN" not in os.environ


def test_whatever_ray_raises_as_it_starts_is_one_line_and_leaves_nothing(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def fails(**_: object) -> None:
        raise PermissionError(13, "Permission denied\nin two lines", "/somewhere")

    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    session = LocalRay(Resources(1, None, "cpu", None))
    with pytest.raises(
        ClusterError, match=r"Ray does not start on this machine: PermissionError.*grok-sweeps doctor"
    ) as e:
        session.start()
    assert "\n" not in str(e.value)
    assert list(short.iterdir()) == []
    session.close()


SPEC = """
name: tiny
runs: {p: 11, arm: clamp, w_c: 20.0, rho: [0.9], seeds: 1, max_steps: 20, train_fraction: 0.6}
execution: {workers: 1, device: cpu}
"""


ROOT = Path(__file__).resolve().parents[2]


def _in_a_namespace(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A shell script with mounts of its own, in `folder`; `$GS` is the command line."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    kept = folder / "kept"  # this code, in case it lies in a folder that the script hides
    kept.mkdir(exist_ok=True)
    script = f"mount --make-rprivate / && mount --bind {ROOT} {kept} && {script}"
    command = ["unshare", "--mount", "bash", "-c", script]
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment, "GS": f"{sys.executable} -m grok_sweeps.cluster.cli", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def no_tmp() -> Iterator[Path]:
    """A folder that is there when /tmp is not: mounts take time and root, so where they are refused it is skipped."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("this process may not mount in a namespace of its own")
    folder = Path(tempfile.mkdtemp(prefix="grok-sweeps-test-", dir="/opt"))
    (folder / "tiny.yaml").write_text(SPEC)
    yield folder
    shutil.rmtree(folder)


def _hidden(folder: str, kept: Path, *, read_only: bool = False) -> str:
    """Commands that put an empty file system over a folder, with this code in it where that lay there."""
    commands = [f"mount -t tmpfs none {folder}"]
    if ROOT.is_relative_to(folder):
        commands += [f"mkdir -p {ROOT}", f"mount --bind {kept} {ROOT}"]
    if read_only:
        commands.append(f"mount -o remount,ro {folder}")
    return " && ".join(commands)


def test_a_sweep_trains_with_a_long_tmpdir_another_users_folder_and_no_home(no_tmp: Path) -> None:
    long = no_tmp / LONG
    long.mkdir()
    hidden = _hidden("/tmp", no_tmp / "kept")
    script = f"{hidden} && mkdir -m 700 /tmp/ray && chown 12345 /tmp/ray && $GS run tiny.yaml --store S"
    ended = _in_a_namespace(f"{script} && ls -A /tmp", no_tmp, HOME="/proc/nowhere", TMPDIR=str(long))
    assert ended.returncode == 0, ended.stderr
    assert "tiny: finished, 1/1 runs" in ended.stdout
    assert "gs-" not in ended.stdout
    assert not list(long.glob("ray*"))


def test_a_machine_without_any_folder_for_ray_gets_one_line_and_the_store_is_read(no_tmp: Path) -> None:
    kept = no_tmp / "kept"
    mounts = " && ".join(_hidden(folder, kept, read_only=True) for folder in ("/tmp", "/var/tmp", "/dev/shm"))
    ended = _in_a_namespace(f"{mounts}; $GS run tiny.yaml --store S", no_tmp, HOME="/proc/nowhere", TMPDIR="/tmp")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: Ray finds no folder for its temporary files: /tmp cannot be written: Read-only")
    assert "set RAY_TMPDIR to a folder" in line
    mounts += f" && {_hidden('/mnt', kept, read_only=True)} && cd /mnt"
    for command in ("status tiny", "status", "logs tiny", "list"):
        ended = _in_a_namespace(f"{mounts}; $GS {command} --store {no_tmp}/S", no_tmp, HOME="/proc/nowhere")
        assert (ended.returncode, ended.stderr) == (0, ""), command
        assert "tiny" in ended.stdout or "Ray finds no folder" in ended.stdout
