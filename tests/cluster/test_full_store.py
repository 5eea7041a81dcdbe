"""A store that fills up or cannot be written: a clear error, finished rows kept, and the sweep goes on afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_processes import cli

from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import open_store

SmallPlan = Callable[..., tuple[str, Plan]]


def mount(*arguments: str) -> bool:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 KiB: room for some rows, not for the states of two lanes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)):
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def one_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line]
    assert len(lines) == 1, text
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_finished_rows_and_the_sweep_goes_on(
    tmp_path: Path, small_disk: Path, small_plan: SmallPlan
) -> None:
    text, plan = small_plan("full", {"checkpoint_every_s": 0.2, "max_failures": 0, "lanes": 2}, rho=[1.0, 1.2], seeds=6)
    (tmp_path / "full.yaml").write_text(text)
    stopped = cli("run", "full.yaml", "--store", str(small_disk), cwd=tmp_path)
    assert stopped.returncode == 1, stopped.stdout
    error = one_error(stopped.stderr)
    assert "the disk is full; free space and run the same command again" in error
    assert "cannot write full/" in error
    kept = set(open_store(str(small_disk)).runs("full").run_id)
    assert kept < set(plan.run_ids())

    assert mount("-o", "remount,size=100m", str(small_disk))
    done = cli("run", "full.yaml", "--store", str(small_disk), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = open_store(str(small_disk)).runs("full")
    assert sorted(runs.run_id) == sorted(plan.run_ids())
    assert kept <= set(runs.run_id)


def test_a_read_only_store_is_one_clear_error_and_starts_nothing(
    tmp_path: Path, small_disk: Path, small_plan: SmallPlan
) -> None:
    text, _ = small_plan("sealed")
    (tmp_path / "sealed.yaml").write_text(text)
    assert mount("-o", "remount,ro", str(small_disk))
    refused = cli("run", "sealed.yaml", "--store", str(small_disk), cwd=tmp_path)
    assert refused.returncode == 1
    error = one_error(refused.stderr)
    assert "the file system is read-only; name a writable directory with --store" in error
    assert "stage 0" not in refused.stdout
