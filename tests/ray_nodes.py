"""A Ray cluster of several real nodes on this one machine: `ray start --block` processes with token authentication.

Every node has a loopback address (Linux), temporary files and a session (`setsid`) of its own. Its processes are found
by that session, which a worker keeps when its raylet is dead, and by a mark in the environment, which the driver of a
Ray Job keeps although it has another session. Nothing is ever found by name, so that no other Ray on this machine is
touched. What speaks HTTP listens on loopback; Ray's own RPC ports listen everywhere, as it gives no choice, and ask for
the token.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.s3_servers import free_ports

WAIT_S = 240.0
"""Bound on every wait for a condition; a slow machine needs a fraction of it."""

MARK = "GROK_SWEEPS_TEST_NODE"
OBJECT_STORE_BYTES = 80_000_000
HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""A frozen node is noticed within about 10 s instead of a minute."""

Environment = Mapping[str, str | None]
"""Variables to set, and those to take away (None)."""


@dataclass
class RayNode:
    """The processes of one node."""

    process: subprocess.Popen[bytes]
    mark: str
    ip: str
    log: Path
    node_id: str = ""

    def processes(self) -> list[psutil.Process]:
        """Every process of this node, job drivers and what they started too."""
        return _processes(lambda mark: mark == self.mark, {self.process.pid})

    def workers(self, title: str = "") -> list[psutil.Process]:
        """This node's processes that Ray calls by what they run, such as `ray::PackTrial.train`."""
        return [p for p in self.processes() if _title(p).startswith("ray::") and title in _title(p)]

    def kill(self) -> None:
        """SIGKILL all of the node, and wait until it is gone."""
        kill_all(self.processes)
        self.process.wait()

    def terminate(self) -> None:
        """Ask `ray start` to end, as a pod's end does; returns at once."""
        self.process.terminate()

    def kill_raylet(self) -> list[psutil.Process]:
        """SIGKILL the raylet alone; returns the node's other processes, which are left to themselves."""
        others = []
        for process in self.processes():
            if process.name() == "raylet":
                process.kill()
            else:
                others.append(process)
        return others

    def freeze(self) -> None:
        """Let the node do nothing and answer nobody, as a machine without power or network does."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End a freeze."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


@dataclass
class RayCluster:
    """A head, which also serves jobs, and nodes; `running_cluster` makes one."""

    folder: Path
    logs: Path
    token: str
    gcs_address: str
    jobs_address: str
    name: str = field(default_factory=lambda: secrets.token_hex(6))
    nodes: list[RayNode] = field(default_factory=list)
    """The head first, then all that were ever added."""

    @property
    def head(self) -> RayNode:
        """The node with the GCS and the jobs server."""
        return self.nodes[0]

    def environment(self) -> dict[str, str]:
        """What a client or driver on this machine needs; its processes end with the cluster."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_ADDRESS": self.gcs_address,
            "RAY_API_SERVER_ADDRESS": self.jobs_address,
            "RAY_USAGE_STATS_ENABLED": "0",
            MARK: f"{self.name}/client",
        }

    def add_node(
        self,
        cpus: int,
        *,
        gpus: int = 0,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        env: Environment | None = None,
        wait: bool = True,
    ) -> RayNode:
        """Start a node; by default return when it has joined.

        Ray takes the number of GPUs on trust: they need not exist.
        """
        options = [f"--address={self.gcs_address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        options += [f"--resources={json.dumps(dict(resources))}"] if resources else []
        options += ["--labels=" + ",".join(f"{key}={value}" for key, value in labels.items())] if labels else []
        node = self._start(options, env or {})
        if wait:
            self.wait_for(node)
        return node

    def wait_for(self, *nodes: RayNode) -> None:
        """Wait until nodes have joined."""
        for node in nodes:
            wait_until(lambda node=node: self._joined(node), f"node {node.ip} joins", lambda node=node: _tail(node))

    def alive(self) -> dict[str, dict[str, Any]]:
        """The nodes that the GCS holds alive, by node id: `node_ip`, `resources_total`, `labels` and more.

        Raises OSError where the head does not answer.
        """
        answer = self.get("/api/v0/nodes?detail=1&limit=1000")
        rows = answer["data"]["result"]["result"]
        return {row["node_id"]: row for row in rows if row["state"] == "ALIVE"}

    def wait_until_dead(self, node: RayNode) -> None:
        """Wait until the GCS has given a node up."""
        wait_until(lambda: node.node_id not in self.alive(), f"node {node.ip} is given up")

    def get(self, path: str, token: str | None = None) -> Any:
        """What the dashboard answers; with this cluster's token unless another, or none (""), is given."""
        used = self.token if token is None else token
        headers = {"Authorization": f"Bearer {used}"} if used else {}
        with urllib.request.urlopen(
            urllib.request.Request(self.jobs_address + path, headers=headers), timeout=60
        ) as got:
            return json.load(got)

    def kill_head(self) -> None:
        """SIGKILL the head and every job driver on it."""
        self.head.kill()

    def processes(self) -> list[psutil.Process]:
        """Every process of the cluster and of clients with its environment."""
        sessions = {node.process.pid for node in self.nodes}
        return _processes(lambda mark: mark.startswith(f"{self.name}/"), sessions)

    def start_head(self, cpus: int, env: Environment) -> None:
        """Start the head and wait until it answers."""
        host, gcs_port = self.gcs_address.split(":")
        dashboard_port = int(self.jobs_address.rsplit(":", 1)[1])
        options = ["--head", f"--port={gcs_port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"]
        options += [f"--ray-client-server-port={dashboard_port + 1}", f"--num-cpus={cpus}", "--num-gpus=0"]
        self._start(options, env)
        assert self.head.ip == host
        self.wait_for(self.head)

    def kill(self) -> None:
        """SIGKILL everything, and remove its temporary files."""
        kill_all(self.processes)
        for node in self.nodes:
            node.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, options: Iterable[str], env: Environment) -> RayNode:
        k = len(self.nodes)
        mark, ip = f"{self.name}/{k}", f"127.0.0.{2 + k}"
        own = {**self.environment(), **HEALTH_CHECKS, MARK: mark, "PATH": _path(), **env}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        environment = {key: value for key, value in {**inherited, **own}.items() if value is not None}
        environment.pop("RAY_ADDRESS", None)  # `ray start` refuses to make a head where it is set
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={ip}"]
        command += [f"--temp-dir={self.folder / str(k)}", f"--object-store-memory={OBJECT_STORE_BYTES}"]
        command += ["--dashboard-agent-listen-port=0", "--disable-usage-stats", *options]
        path = self.logs / f"ray-node-{self.name}-{k}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.logs, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.nodes.append(RayNode(process, mark, ip, path))
        return self.nodes[-1]

    def _joined(self, node: RayNode) -> bool:
        assert node.process.poll() is None, f"the node ended: {_tail(node)}"
        with contextlib.suppress(OSError):
            for node_id, row in self.alive().items():
                if row["node_ip"] == node.ip:
                    node.node_id = node_id
                    return True
        return False


@contextlib.contextmanager
def running_cluster(
    logs: Path,
    *,
    cpus: int = 2,
    nodes: int = 2,
    head_cpus: int = 0,
    token: str = "",
    env: Environment | None = None,
) -> Iterator[RayCluster]:
    """A cluster of a head and `nodes` nodes of `cpus` CPUs; at the end nothing of it is left, whatever has happened.

    `logs` gets the output of every `ray start`. `env` changes the environment of these nodes. A token is made up unless
    one is given.
    """
    first = next(free_ports(3))
    # Sockets lie in there, and their paths may have 107 characters only: not pytest's folder.
    folder = Path(tempfile.mkdtemp(prefix="ray-nodes-"))
    cluster = RayCluster(
        folder, logs, token or secrets.token_hex(16), f"127.0.0.2:{first}", f"http://127.0.0.1:{first + 1}"
    )
    try:
        cluster.start_head(head_cpus, env or {})
        cluster.wait_for(*[cluster.add_node(cpus, env=env, wait=False) for _ in range(nodes)])
        yield cluster
    finally:
        cluster.kill()


def wait_until(
    condition: Callable[[], object], what: str, detail: Callable[[], str] = str, within_s: float = WAIT_S
) -> None:
    """Wait for a condition, bounded; `detail` says more where it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {within_s:.0f} s: {what} {detail()}"
        time.sleep(0.1)


def running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that have not ended; one that is dead and not yet waited for has."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_all(processes: Callable[[], list[psutil.Process]]) -> None:
    """SIGKILL processes until there are none: those that are alive may start others meanwhile."""

    def none_left() -> bool:
        found = processes()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return not found  # no waitpid: how a child ended is for who started it

    wait_until(none_left, "every process is gone")


def _processes(is_ours: Callable[[str], bool], sessions: set[int]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) in sessions or is_ours(process.environ().get(MARK, "")):
                found.append(process)
    return running(found)


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _tail(node: RayNode) -> str:
    return node.log.read_text(errors="replace")[-2000:]
