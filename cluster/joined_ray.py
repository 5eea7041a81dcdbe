"""A Ray cluster that is there already, joined by the driver for as long as its sweep takes.

Nodes come and go meanwhile, so what there is room for is asked again and again. As many packs again as train wait for a
worker: they are what makes an autoscaler add nodes, and what a new node finds to do at once; more would only sit there.
"""

from __future__ import annotations

import logging
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from cluster.nodes import Node, alive_nodes, packs_that_fit
from cluster.resources import Resources
from cluster.settings import prepare_ray
from grok_sweeps.errors import ClusterError

CONNECT_S = 5.0
LOOK_EVERY_S = 2.0


class JoinedRay:
    """The `RaySession` of a cluster.

    Args:
        address: `auto`, the cluster that this machine is a node of, or HOST:PORT of its head.
        runtime_env: Ray's runtime environment of the workers.
        most_workers: packs that train at once at most; None is no bound.
    """

    def __init__(self, address: str, runtime_env: Mapping[str, Any], most_workers: int | None = None) -> None:
        self._address, self._runtime_env, self._most = address, runtime_env, most_workers
        self._bundle: Mapping[str, float] = {"CPU": 1.0}
        self._nodes: list[Node] = []
        self._looked_at = float("-inf")
        self.scratch = ""
        self.bad_nodes: frozenset[str] = frozenset()

    def start(self) -> None:
        """Join.

        Raises:
            ClusterError: no cluster is reached, or it wants another token.
        """
        if self.scratch:
            return
        prepare_ray()
        import ray
        from ray.exceptions import AuthenticationError

        _reachable(self._address)
        try:
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
        except ConnectionError as error:
            raise ClusterError(
                f"no Ray cluster at '{self._address}': {' '.join(str(error).split())} Give `auto` on one of its "
                "nodes, or http://HOST:8265 to submit from outside."
            ) from error
        self.scratch = tempfile.mkdtemp(prefix="grok-sweeps-")

    def close(self) -> None:
        """Leave."""
        if self.scratch:
            import ray

            ray.shutdown()
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch = ""

    def train_with(self, resources: Resources) -> None:
        """Say what a pack takes."""
        self._bundle = resources.bundle

    def nodes(self) -> list[Node]:
        """The nodes that are alive, as of some seconds ago at most."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._nodes, self._looked_at = alive_nodes(), time.monotonic()
        return self._nodes

    def workers(self) -> int:
        """See `RaySession`."""
        fit = packs_that_fit(self.nodes(), self._bundle, self.bad_nodes)
        return fit if self._most is None else min(fit, self._most)

    def most_taken(self) -> int:
        """See `RaySession`."""
        most = 2 * max(1, self.workers())
        return most if self._most is None else min(most, self._most)

    def has_room_without(self, nodes: frozenset[str]) -> bool:
        """See `RaySession`."""
        return packs_that_fit(self.nodes(), self._bundle, nodes | self.bad_nodes) > 0


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
