"""Compile `kernels.cpp` once a machine; workers and later runs find the library in the cache.

The library is for the very processor it was built on, so its name is a hash of source, flags, compiler and processor.
It is compiled to a temporary name and renamed, so that workers that start together cannot meet half of it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = (
    "-O3",
    "-march=native",
    *(["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []),  # compilers choose 256 by themselves
    "-std=c++20",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp-simd",
    "-shared",
    "-fPIC",
)
TIMEOUT_S = 120.0


class NativeBuildError(RuntimeError):
    """The kernels cannot be compiled here; the message says why."""


def library() -> Path:
    """The compiled library, built if the cache lacks it.

    Raises:
        NativeBuildError: there is no C++ compiler, or it fails.
    """
    compiler = _compiler()
    identity = "\0".join((SOURCE.read_text(), *FLAGS, _run(compiler, "--version"), _processor()))
    path = _cache() / f"kernels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            built = Path(folder) / path.name
            _run(compiler, *FLAGS, "-o", str(built), str(SOURCE))
            built.replace(path)
    return path


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise NativeBuildError("no C++ compiler is found (CXX, c++, g++, clang++)")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise NativeBuildError(f"{command[0]} fails: {error.stderr.strip()[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeBuildError(f"{command[0]} fails: {error}") from error
    return done.stdout


def _processor() -> str:
    """What the kernel says of this processor's instructions, or at least its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _cache() -> Path:
    """A folder of this user's that exists; where home cannot be written, one beside the temporary files.

    Raises:
        NativeBuildError: that one is not this user's alone, so that what is loaded from it might be anyone's.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = base / "grok-sweeps"
    try:
        own.mkdir(parents=True, exist_ok=True)
        if os.access(own, os.W_OK):
            return own
    except OSError:
        pass
    shared = Path(tempfile.gettempdir()) / f"grok-sweeps-cache-{os.getuid()}"
    try:
        shared.mkdir(mode=0o700, exist_ok=True)
        found = shared.lstat()
    except OSError as error:
        raise NativeBuildError(f"no folder for the compiled kernels: {error}; set XDG_CACHE_HOME") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NativeBuildError(f"{shared} is not this user's alone; delete it or set XDG_CACHE_HOME")
    return shared
