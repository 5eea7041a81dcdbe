"""A `grok-sweeps` in the background that does not outlive its test, and tools that listen to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster_processes import Sweeping
from tool_servers import MlflowServer, Received, webhook_server

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
