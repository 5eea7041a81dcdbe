"""The cluster of real nodes that other tests use: its nodes join and die, and nothing of it is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from ray_nodes import RayCluster, running, running_cluster, wait_until

pytestmark = pytest.mark.slow
HOLD = """
import ray, time
ray.init(address="auto")

@ray.remote(num_cpus=2)
class Holder:
    def node(self):
        return ray.get_runtime_context().get_node_id()

holders = [Holder.remote() for _ in range(2)]
print(sorted(ray.get([h.node.remote() for h in holders])), flush=True)
time.sleep(600)
"""


def submit(cluster: RayCluster, entrypoint: str) -> str:
    """Submit a job as curl would; returns its id."""
    request = urllib.request.Request(
        cluster.jobs_address + "/api/jobs/",
        json.dumps({"entrypoint": entrypoint}).encode(),
        {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["submission_id"])


def test_nodes_join_are_killed_and_frozen_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "hold.py").write_text(HOLD)
    with running_cluster(tmp_path, cpus=2, nodes=2) as cluster:
        _, first, second = cluster.nodes
        assert {node.node_id for node in cluster.nodes} == set(cluster.alive())
        job = submit(cluster, f"{sys.executable} {tmp_path / 'hold.py'}")
        nodes = str(sorted([first.node_id, second.node_id]))
        wait_until(lambda: nodes in cluster.get(f"/api/jobs/{job}/logs")["logs"], "the job has both nodes")
        assert first.workers("Holder")
        assert any("hold.py" in " ".join(p.cmdline()) for p in cluster.head.processes()), "no driver on the head"

        labelled = cluster.add_node(1, gpus=1, labels={"zone": "b"}, resources={"disk": 2})
        row = cluster.alive()[labelled.node_id]
        assert row["labels"]["zone"] == "b"
        assert (row["resources_total"]["GPU"], row["resources_total"]["disk"]) == (1, 2)

        left = first.kill_raylet()
        assert first.workers("Holder"), "the workers went with the raylet"
        cluster.wait_until_dead(first)
        first.kill()
        assert not running(left)
        second.freeze()
        assert {p.status() for p in second.workers("Holder")} == {psutil.STATUS_STOPPED}
        cluster.wait_until_dead(second)
        second.thaw()
        wait_until(lambda: not second.workers("Holder"), "a node that was given up ends its workers by itself")
        assert labelled.node_id in cluster.alive()
        everyone = cluster.processes()
    assert not cluster.processes()
    assert not running(everyone)
    assert not cluster.folder.exists()


def test_a_failed_test_leaves_nothing_and_a_client_needs_the_token(tmp_path: Path) -> None:
    def fails() -> None:
        with running_cluster(tmp_path, nodes=0, head_cpus=1, token="a" * 32) as cluster:
            client = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=cluster.environment())
            clients.append(client)
            for wrong in ("", "b" * 32):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    cluster.get("/api/v0/nodes", wrong)
                assert refused.value.code in {401, 403}
                refused.value.close()
            clusters.append(cluster)
            raise ValueError("as a failed assertion does")

    clients: list[subprocess.Popen[bytes]] = []
    clusters: list[RayCluster] = []
    with pytest.raises(ValueError, match="failed assertion"):
        fails()
    assert clients[0].wait(timeout=0) == -signal.SIGKILL
    assert not clusters[0].processes()
    assert not clusters[0].folder.exists()
