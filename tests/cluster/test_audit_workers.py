"""The processes of `audit`: none outlives the command."""

from __future__ import annotations

import os
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from grok_sweeps.cluster.cli.audit import _workers


def stop_early(error: type[BaseException], folders: list[Path]) -> None:
    """Begin an audit of long jobs and leave it by an exception."""
    before = set(active_children())
    with _workers(1) as (pool, folder):
        folders.append(Path(folder))
        pool.submit(os.mkdir, f"{folder}/written").result(120)
        for _ in range(4):
            pool.submit(time.sleep, 3600)
        assert set(active_children()) - before
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_workers_and_what_they_write_are_gone_when_the_audit_stops_early(error: type[BaseException]) -> None:
    before, folders = set(active_children()), list[Path]()
    with pytest.raises(error):
        stop_early(error, folders)
    assert not set(active_children()) - before
    assert not folders[0].exists()
