"""Asks and tells the Ray that this process is connected to, where Ray has no public call for it: the one place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from grok_sweeps.cluster.nodes import Node
from grok_sweeps.errors import ClusterError


def read_authentication() -> None:
    """Have Ray in this process look again at how it authenticates: it remembers mode and token."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined, unused-ignore]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


class Demand:
    """A placement group that nothing uses: an autoscaler sees it and adds a node."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def withdraw(self) -> None:
        """No longer ask for it."""
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(self._group)


def ask_for(bundle: Mapping[str, float]) -> Demand:
    """Ask the cluster for room for a bundle."""
    from ray.util.placement_group import placement_group

    return Demand(placement_group([dict(bundle)]))


def alive_nodes() -> list[Node]:
    """The nodes of the cluster that this process is connected to."""
    import ray

    draining = ray._private.state.state.get_draining_nodes()
    return [
        Node(entry["NodeID"], entry["NodeManagerHostname"], entry["Resources"], entry["NodeID"] in draining)
        for entry in ray.nodes()
        if entry["Alive"]
    ]


def this_node() -> str:
    """The id of the node that this process works on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def node_of(actor: Any) -> str | None:
    """The id of the node that an actor is on, or None where Ray does not know."""
    import ray

    return ray._private.state.actors(actor._actor_id.hex()).get("Address", {}).get("NodeID") or None


def drains(node_id: str) -> bool:
    """Whether a node was told to go: it is preempted, or scaled down."""
    import ray

    return node_id in ray._private.state.state.get_draining_nodes()


def drain(node_id: str, seconds: float) -> None:
    """Tell Ray that a node is preempted in so many seconds.

    Raises:
        ClusterError: Ray refuses.
    """
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined, unused-ignore]
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline_ms = int((time.time() + seconds) * 1000)
    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    accepted, why = client.drain_node(node_id, reason, "about to go", deadline_ms)
    if not accepted:
        raise ClusterError(f"Ray does not drain node {node_id}: {why}")


def trials_on(node_id: str) -> int:
    """How many packs' workers a node has."""
    import ray

    return sum(
        actor["State"] == "ALIVE" and actor["Address"]["NodeID"] == node_id and "PackTrial" in actor["ActorClassName"]
        for actor in ray._private.state.actors().values()
    )
