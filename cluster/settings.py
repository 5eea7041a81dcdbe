"""What the environment decides. The only module that reads it."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from grok_sweeps.errors import SpecError

STORE_VARIABLE = "GROK_SWEEPS_STORE"
DEFAULT_STORE = "./sweeps"
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""Keeps glibc from giving every large array back to the system at once, to be zeroed anew for the next: that was a
third of the readings' time (`tests/bench/README.md`)."""


_AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine offers."""

    cpus: int
    gpus: int


def default_store() -> str:
    """The store's URI where no `--store` names one."""
    return os.environ.get(STORE_VARIABLE) or DEFAULT_STORE


def this_machine(*, look_for_gpus: bool) -> Machine:
    """CPUs this process may use, and CUDA devices.

    Asking torch costs its import, two seconds, so it is asked only where an NVIDIA driver is in sight.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpus = max(1, min(cpus, _container_cpus()))
    gpus = 0
    if look_for_gpus and has_nvidia_driver():
        import torch

        gpus = torch.cuda.device_count()
    return Machine(cpus, gpus)


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver is in sight."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def ray_token(file: Path | None = None) -> str | None:
    """The token of Ray's token authentication, from `file`, the environment or the file it names; None without one.

    Raises:
        SpecError: `file` cannot be read, or is empty.
    """
    if file is not None:
        try:
            token = file.expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"--token-file: '{file}' cannot be read: {error}.") from error
        if not token:
            raise SpecError(f"--token-file: '{file}' is empty; it holds the cluster's token.")
        return token
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        from_file = Path(path).expanduser().read_text().strip() if path else None
    except OSError:
        from_file = None
    return os.environ.get("RAY_AUTH_TOKEN") or from_file or None


def jobs_address() -> str | None:
    """The Ray jobs server that the environment names, or None."""
    return os.environ.get("RAY_API_SERVER_ADDRESS") or None


def is_ray_job() -> bool:
    """Whether this process was started by a Ray jobs server, which has shipped the code to all its workers."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def environment_values(names: Iterable[str]) -> dict[str, str]:
    """The values of environment variables by name.

    Raises:
        SpecError: one is not set.
    """
    wanted = tuple(names)
    for name in wanted:
        if name not in os.environ:
            raise SpecError(f"--env: the variable '{name}' is not set here; set it, or leave the option out.")
    return {name: os.environ[name] for name in wanted}


def use_token(token: str | None) -> None:
    """Have Ray in this process show this token to the cluster it joins."""
    if token is not None:
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})


@contextmanager
def own_token() -> Iterator[None]:
    """A token for a Ray of this process alone, made here and written nowhere; else Ray writes one to HOME.

    A mode or a token in the environment stays.
    """
    before = {name: os.environ.get(name) for name in _AUTHENTICATION}
    if (before["RAY_AUTH_MODE"] or "token").lower() == "token" and not before["RAY_AUTH_TOKEN"]:
        use_token(secrets.token_hex(32))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def temporary_folders() -> tuple[str, ...]:
    """Folders for temporary files as the environment names them, Ray's own variable first."""
    return tuple(filter(None, map(os.environ.get, ("RAY_TMPDIR", "TMPDIR", "TEMP", "TMP"))))


def environment_value(name: str) -> str | None:
    """What an environment variable holds that a spec names; None where it is not set or empty."""
    return os.environ.get(name) or None


def prepare_trackers() -> None:
    """Set what MLflow's client reads in the process that logs runs. A user's own setting stays.

    It waits ten minutes and more for a server that does not answer, and counts usage.
    """
    for name, value in (
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ):
        os.environ.setdefault(name, value)


def _container_cpus() -> int:
    """CPUs that a container's quota allows (cgroup v2), or no limit."""
    quota = Path("/sys/fs/cgroup/cpu.max")
    try:
        allowed, period = quota.read_text().split()
        return sys.maxsize if allowed == "max" else int(allowed) // int(period)
    except (OSError, ValueError):
        return sys.maxsize


def prepare_ray() -> None:
    """Set what the processes that Ray starts inherit.

    Keeps Ray from writing result files, counting usage, and printing what a sweep's user cannot act on. A user's own
    setting of the allocator stays.
    """
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)
    os.environ.update(
        {
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            "TUNE_DISABLE_SIGINT_HANDLER": "1",
            "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # how many packs wait is the driver's own bound
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AIR_NEW_OUTPUT": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
    )
