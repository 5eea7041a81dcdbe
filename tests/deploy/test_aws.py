"""The `ray up` file passes Ray's own validator, and the watcher hears AWS's notice."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from deploy_files import DEPLOY, complaints, load
from ray.autoscaler._private.util import prepare_config, validate_config

WATCHER = DEPLOY / "aws" / "spot-watch.sh"


@pytest.fixture
def cluster() -> Any:
    return load("aws/cluster.yaml")


def test_the_cluster_file_passes_rays_validator(cluster: Any) -> None:
    validate_config(prepare_config(cluster))
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        validate_config(prepare_config({**cluster, "max_wrokers": 8}))


def test_workers_are_spot_and_go_when_idle_and_the_head_stays(cluster: Any) -> None:
    types = cluster["available_node_types"]
    head = types.pop(cluster["head_node_type"])
    assert "InstanceMarketOptions" not in head["node_config"]
    assert head["resources"]["CPU"] == 0
    for worker in types.values():
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert worker["min_workers"] == 0
        assert worker["max_workers"] <= cluster["max_workers"]
    assert cluster["provider"]["cache_stopped_nodes"] is False


def test_every_node_takes_its_rights_from_a_role_over_imdsv2(cluster: Any) -> None:
    profiles = set()
    for node in cluster["available_node_types"].values():
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        profiles.add(node["node_config"]["IamInstanceProfile"]["Name"])
    assert profiles == {"grok-sweeps-head", "grok-sweeps-worker"}
    assert "aws_credentials" not in cluster["provider"]


def test_the_head_may_end_its_own_workers_and_pass_on_their_role_alone(cluster: Any) -> None:
    policy = json.loads((DEPLOY / "aws" / "head-policy.json").read_text())
    statements = {statement["Sid"]: statement for statement in policy["Statement"]}
    tags = statements["EndWorkers"]["Condition"]["StringEquals"]
    assert tags == {"aws:ResourceTag/ray-cluster-name": cluster["cluster_name"]}
    profile = cluster["available_node_types"]["spot-gpu"]["node_config"]["IamInstanceProfile"]["Name"]
    assert statements["RoleOfTheWorkers"]["Resource"].endswith(f":role/{profile}")


def test_the_watcher_passes_shellcheck() -> None:
    assert complaints("shellcheck", str(WATCHER)) == ""


class Metadata(ThreadingHTTPServer):
    """An instance's metadata service that asks for a session token; a notice comes with the third question."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answers)


class _Answers(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        allowed = self.path == "/latest/api/token" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        self._answer(200 if allowed else 400, b"session")

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != "session":
            return self._answer(401)
        self.server.asked.append(self.path)
        there = self.path == "/latest/meta-data/spot/instance-action" and len(self.server.asked) >= 3
        return self._answer(200 if there else 404, b'{"action": "terminate"}')

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_watcher_runs_its_command_at_the_notice_and_not_before(metadata: Metadata, tmp_path: Path) -> None:
    left = tmp_path / "left"
    subprocess.run(
        [WATCHER, "touch", left],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{metadata.server_port}",
            "SPOT_POLL_S": "0.01",
        },
        check=True,
        timeout=60,
        capture_output=True,
    )
    assert left.exists()
    assert metadata.asked == ["/latest/meta-data/spot/instance-action"] * 3
