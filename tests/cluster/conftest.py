"""A `grok-sweeps` in the background that does not outlive its test, and tools that listen to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster_processes import SHARED_RAY, Sweeping
from ray_nodes import RayCluster, running_cluster
from tool_servers import MlflowServer, Received, webhook_server

from grok_sweeps.store import lease as lease_module
from grok_sweeps.store import take_lease as take_lease_module
from tests.faults.steps import CountedSteps


@pytest.fixture
def sweeping(tmp_path: Path) -> Iterator[Callable[..., Sweeping]]:
    """Start `grok-sweeps` in the background; what is left of it is killed at the end of the test."""
    started: list[Sweeping] = []

    def start(*arguments: str, **options: Any) -> Sweeping:
        started.append(Sweeping(list(arguments), tmp_path, **options))
        return started[-1]

    yield start
    for sweep in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            sweep.kill_everything()


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of this process that are renewed, and looked at, many times a second."""
    monkeypatch.setattr(lease_module, "RENEW_EVERY_S", 0.02)
    monkeypatch.setattr(take_lease_module, "LOOK_EVERY_S", 0.05)


@pytest.fixture(scope="session")
def one_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A Ray of one node with the CPUs of two workers, which is up for all tests that need no Ray of their own."""
    with running_cluster(tmp_path_factory.mktemp("one-ray"), nodes=0, head_cpus=2) as cluster:
        yield cluster


@pytest.fixture
def on_one_ray(one_ray: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `cli` train on the Ray that is up, in place of a Ray of each command's own, which takes seconds to start."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", one_ray.token)
    monkeypatch.setenv(SHARED_RAY, one_ray.gcs_address)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountedSteps:
    """The steps of all commands that the test starts."""
    counted = CountedSteps(tmp_path / "steps")
    for name, value in counted.environment.items():
        monkeypatch.setenv(name, value)
    return counted


@pytest.fixture
def webhook() -> Iterator[Received]:
    """A receiver of webhooks."""
    with webhook_server() as received:
        yield received


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """MLflow's own server."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()
