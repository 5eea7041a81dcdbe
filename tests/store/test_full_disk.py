"""A full or read-only disk: one error that names object, operation and fix, and nothing lost or half there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grok_sweeps.errors import StoreError
from grok_sweeps.store.local import LocalObjects


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB."""
    try:
        mounted = _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path))
    except FileNotFoundError:
        pytest.skip("no mount command on this system")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", str(tmp_path)], timeout=60, check=True)


def _everything(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("operation", ["put", "create"])
def test_a_full_disk_is_named_with_its_fix_and_loses_nothing(operation: str, small_disk: Path) -> None:
    objects = LocalObjects(small_disk)
    objects.put("s/rows/early.parquet", b"e" * 1000)
    write = getattr(objects, operation)
    k = 0
    with pytest.raises(StoreError) as caught:  # noqa: PT012
        for k in range(100):
            write(f"s/checkpoints/{k}", b"c" * 100_000)
    message = str(caught.value)
    assert k < 11
    assert f"cannot write s/checkpoints/{k}" in message
    assert "disk is full; free space and run the same command again" in message
    assert "\n" not in message
    assert objects.get("s/rows/early.parquet") == b"e" * 1000
    assert all(objects.get(f"s/checkpoints/{n}") == b"c" * 100_000 for n in range(k))
    assert objects.get(f"s/checkpoints/{k}") is None
    assert _everything(small_disk) == sorted(["s/rows/early.parquet", *(f"s/checkpoints/{n}" for n in range(k))])


def test_a_full_disk_keeps_the_old_version_and_takes_writes_again_when_freed(small_disk: Path) -> None:
    objects = LocalObjects(small_disk)
    objects.put("s/status.json", b"old")
    objects.put("s/big", b"x" * 900_000)
    with pytest.raises(StoreError, match="disk is full"):
        objects.put("s/status.json", b"n" * 400_000)
    assert objects.get("s/status.json") == b"old"
    objects.delete("s/big")
    objects.put("s/status.json", b"n" * 400_000)
    assert objects.get("s/status.json") == b"n" * 400_000


def test_a_read_only_disk_is_readable_and_refuses_writes_with_the_fix(small_disk: Path) -> None:
    objects = LocalObjects(small_disk)
    objects.put("s/rows/a.parquet", b"data")
    remounted = _mount("-o", "remount,ro", str(small_disk))
    if remounted.returncode:
        pytest.skip(f"the disk cannot be remounted here: {remounted.stderr.strip()}")
    for operation, name in ((objects.put, "s/new"), (objects.put, "other/new"), (objects.create, "s/spec.yaml")):
        with pytest.raises(StoreError, match=rf"cannot write {name}: the file system is read-only; .*--store"):
            operation(name, b"x")
    with pytest.raises(StoreError, match=r"cannot delete s/rows/a\.parquet: the file system is read-only"):
        objects.delete("s/rows/a.parquet")
    assert objects.get("s/rows/a.parquet") == b"data"
    assert [info.name for info in objects.list("s")] == ["s/rows/a.parquet"]


def test_a_file_where_the_directory_should_be_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    with pytest.raises(StoreError, match=r"cannot write s/spec\.yaml: .*--store"):
        LocalObjects(tmp_path / "store").put("s/spec.yaml", b"x")
