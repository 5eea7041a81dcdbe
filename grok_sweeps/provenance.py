"""Who trained a run: versions, commit, host. Read once a process."""

from __future__ import annotations

import contextlib
import platform
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

VERSION = "0.1.0"
"""This package's version. It stands here since a cluster's workers have its code without having it installed."""


def package_version(name: str) -> str | None:
    """Installed version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def git_sha() -> str | None:
    """Commit of the checkout this package runs from, with `+` when it was changed; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        sha = _git(root, "rev-parse", "HEAD")
        return sha + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def provenance(commit: str | None) -> dict[str, Any]:
    """Provenance columns a worker knows by itself, with the driver's `commit`."""
    return {
        "version": VERSION,
        "git_sha": commit,
        "torch": package_version("torch"),
        "ray": package_version("ray"),
        "host": socket.gethostname(),
    }


@cache
def cpu_name() -> str | None:
    """Model of this machine's CPU, or None where it is not told."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip() or None
    return platform.processor() or None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(root), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
