"""What this machine trains with."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from grok_sweeps.cluster.doctor.check import Check, failure, ok, warning
from grok_sweeps.cluster.ray_folder import (
    ALSO,
    FIX,
    OBJECT_STORE_BYTES,
    SHARED_MEMORY,
    find_base,
    shared_bytes,
)
from grok_sweeps.cluster.settings import has_nvidia_driver, temporary_folders, this_machine
from grok_sweeps.provenance import VERSION, package_version

_INSTALL = "install grok-sweeps again: pip install -c constraints.txt -e ."


def check_machine() -> Iterator[Check]:
    """Yield one check after the other; importing torch and compiling the kernels for the first time take seconds."""
    yield ok("grok-sweeps", f"{VERSION} on Python {platform.python_version()}")
    yield version_check("ray", package_version("ray"))
    yield temporary_check([*temporary_folders(), *ALSO])
    yield shared_memory_check()
    yield version_check("torch", package_version("torch"))
    try:
        import torch
    except (ImportError, OSError) as error:
        yield failure("torch", f"cannot be imported: {error}", _INSTALL)
        return
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    yield gpu_check(names, has_nvidia_driver())
    yield ok("CPU", f"{this_machine(look_for_gpus=False).cpus} cores for workers")
    yield kernels_check(_build_error())


def version_check(package: str, version: str | None) -> Check:
    """Whether a package is there."""
    return failure(package, "is not installed", _INSTALL) if version is None else ok(package, version)


def temporary_check(candidates: Sequence[str | Path]) -> Check:
    """Whether a local Ray's sockets and logs have a folder, and whether it is the one that the user names."""
    base, wrong = find_base(candidates)
    name = "Ray's temporary files"
    if base is None:
        return failure(name, f"no folder can hold them: {'; '.join(wrong)}", FIX)
    if wrong:
        return warning(name, f"in {base}, since {'; '.join(wrong)}", FIX)
    return ok(name, f"in {base}")


def shared_memory_check(shared: Path = SHARED_MEMORY) -> Check:
    """Whether Ray's object store fits into shared memory."""
    free = shared_bytes(shared)
    text = f"{free / 1e6:,.0f} MB free in {shared}"
    if free >= OBJECT_STORE_BYTES:
        return ok("shared memory", text)
    fix = f"give it {OBJECT_STORE_BYTES / 1e6:,.0f} MB (a container's --shm-size), or delete what fills it"
    return warning("shared memory", f"{text}; Ray's objects lie in its temporary files, slower", fix)


def gpu_check(names: Sequence[str], has_driver: bool) -> Check:
    """Whether the GPUs that a driver stands for are seen by torch."""
    if names:
        return ok("GPU", ", ".join(names))
    if has_driver:
        return warning("GPU", "there is an NVIDIA driver and torch sees no device", "install a CUDA build of torch")
    return ok("GPU", "none; trains on the CPU")


def kernels_check(error: str | None) -> Check:
    """Whether the native kernels for training on the CPU can be compiled; `error` says why not."""
    if error is None:
        return ok("native kernels", "compiled")
    return warning("native kernels", f"{error}; the eager engine trains on CPUs, slower", "install g++ or clang++")


def _build_error() -> str | None:
    from grok_sweeps.train.native.build import NativeBuildError, library

    try:
        library()
    except NativeBuildError as error:
        return " ".join(str(error).split())
    return None
