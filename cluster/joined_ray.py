"""A Ray cluster that is there already, joined by the driver for as long as its sweep takes.

Nodes come and go meanwhile, so what there is room for is asked again and again, and each new node is tried out. As many
packs again as train wait for a worker: they are what makes an autoscaler add nodes, and what a new node finds to do at
once; more would only sit there.
"""

from __future__ import annotations

import logging
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from grok_sweeps.cluster.gcs_watch import GcsWatch
from grok_sweeps.cluster.node_probes import NodeProbes
from grok_sweeps.cluster.nodes import Node, describe_bundle, packs_that_fit
from grok_sweeps.cluster.ray_folder import ALSO, scratch_folder
from grok_sweeps.cluster.ray_processes import own_sigterm
from grok_sweeps.cluster.ray_session import Tell
from grok_sweeps.cluster.ray_state import alive_nodes, ask_for
from grok_sweeps.cluster.resources import Resources, choose_cluster_resources, wanted_resources
from grok_sweeps.cluster.schedule import Room
from grok_sweeps.cluster.settings import prepare_ray, temporary_folders
from grok_sweeps.errors import ClusterError
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore

PREFLIGHT_PASSED = "preflight passed"
"""What is told begins so when there is room and nodes can use the store; `submit` waits for it."""
WAITING = "waiting for room"
"""What is told begins so while the cluster has no room and is given time to make some."""
CONNECT_S = 5.0
HEAD_PATIENCE_S = 20.0
"""How long a head may be away: less than the grace of Slurm and Kubernetes, which end it together with the driver."""
LOOK_EVERY_S = 2.0


class JoinedRay:
    """The `RaySession` of a cluster.

    Args:
        address: `auto`, the cluster that this machine is a node of, or HOST:PORT of its head.
        runtime_env: Ray's runtime environment of the workers.
        wait_for_nodes_s: how long a cluster without room may take to make some.
    """

    def __init__(self, address: str, runtime_env: Mapping[str, Any], wait_for_nodes_s: float = 0.0) -> None:
        self._address, self._runtime_env, self._wait_s = address, runtime_env, wait_for_nodes_s
        self._bundle: Mapping[str, float] = {"CPU": 1.0}
        self._most: int | None = None
        self._nodes: list[Node] = []
        self._probes: NodeProbes | None = None
        self._watch = GcsWatch(lambda: None, HEAD_PATIENCE_S)
        self._looked_at = float("-inf")
        self.scratch = ""
        self._unusable: frozenset[str] = frozenset()

    def prepare(
        self, execution: Execution, store: SweepStore, tell: Tell, stopped: Callable[[], bool]
    ) -> Resources | None:
        """Join the cluster, wait until it has room for a pack, and have its nodes use the store."""
        self.start()
        self._most = None if execution.workers == "auto" else execution.workers
        resources = self._wait_for_room(execution, tell, stopped)
        if resources is None:
            return None
        self._bundle = resources.bundle
        self._probes = NodeProbes(store.objects.uri, store.sweep, tell)
        found = self._probes.first_look(self.nodes(), resources.bundle)
        self._unusable = self._probes.bad_nodes
        room = packs_that_fit(self.nodes(), resources.bundle, self._unusable)
        tell(f"{PREFLIGHT_PASSED}: room for {room} packs of {describe_bundle(resources.bundle)}; {found}")
        return resources

    def _wait_for_room(self, execution: Execution, tell: Tell, stopped: Callable[[], bool]) -> Resources | None:
        until, asked = time.monotonic() + self._wait_s, None
        try:
            while not stopped():
                try:
                    return choose_cluster_resources(execution, self.nodes())
                except ClusterError as error:
                    if time.monotonic() >= until:
                        raise
                    if asked is None:
                        tell(f"{WAITING}, up to {self._wait_s:g} s: {error}")
                        asked = ask_for(wanted_resources(execution, self.nodes()).bundle)
                time.sleep(LOOK_EVERY_S)
            return None
        finally:
            if asked is not None:
                asked.withdraw()

    def start(self) -> None:
        """Join.

        Raises:
            ClusterError: no cluster is reached, or it wants another token or version.
        """
        if self.scratch:
            return
        prepare_ray()
        import ray
        from ray.exceptions import AuthenticationError

        _reachable(self._address)
        try:
            with own_sigterm():
                ray.init(
                    address=self._address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env=dict(self._runtime_env),
                )
        except AuthenticationError as error:
            raise ClusterError(
                f"the cluster at {self._address} refuses the token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or "
                "RAY_AUTH_TOKEN_PATH to the cluster's."
            ) from error
        except (OSError, RuntimeError) as error:
            raise ClusterError(
                f"the cluster at '{self._address}' is not joined: {' '.join(str(error).split())} Give `auto` on one of "
                "its nodes, or http://HOST:8265 to submit from outside."
            ) from error
        try:
            self.scratch = scratch_folder([*temporary_folders(), *ALSO])
        except ClusterError:
            ray.shutdown()
            raise
        self._watch.begin()

    def close(self) -> None:
        """Leave."""
        if self.scratch:
            import ray

            ray.shutdown()
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch = ""
        self._watch.end()

    def on_loss(self, end: Callable[[str], None]) -> None:
        """Call `end` once the cluster's head has been gone for `HEAD_PATIENCE_S`; it may come back before."""
        self._watch = GcsWatch(lambda: end("the cluster's head (its GCS) cannot be reached"), HEAD_PATIENCE_S)

    def nodes(self) -> list[Node]:
        """The nodes that are alive, as of some seconds ago at most."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._nodes, self._looked_at = alive_nodes(), time.monotonic()
            if self._probes is not None:
                self._probes.look(self._nodes, self._bundle)
                self._unusable = self._probes.bad_nodes
        return self._nodes

    def room(self) -> Room:
        """See `RaySession`. As many packs as train wait for a worker, so that an autoscaler sees what is wanted."""
        packs_on = {node.node_id: node.packs(self._bundle) for node in self.nodes()}
        workers = sum(n for node, n in packs_on.items() if node not in self._unusable)
        most = 2 * max(1, workers)
        if self._most is not None:
            workers, most = min(workers, self._most), min(most, self._most)
        return Room(workers, most, packs_on, self._unusable)


def _reachable(address: str) -> None:
    """Find out in seconds what Ray finds out in minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise ClusterError(
            f"--address: '{address}' is no address; give auto, HOST:PORT of a cluster's head, or http://HOST:8265 to "
            "submit from outside."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {error}; check address, port and firewall.") from error
