"""Asks the Ray that this process is connected to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grok_sweeps.cluster.nodes import Node
from grok_sweeps.cluster.ray_private import actors, draining_nodes


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

    draining = draining_nodes()
    return [
        Node(entry["NodeID"], entry["NodeManagerHostname"], entry["Resources"], entry["NodeID"] in draining)
        for entry in ray.nodes()
        if entry["Alive"]
    ]


def this_node() -> str:
    """The id of the node that this process works on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def drains(node_id: str) -> bool:
    """Whether a node was told to go: it is preempted, or scaled down."""
    return node_id in draining_nodes()


def trials_on(node_id: str) -> int:
    """How many packs' workers a node has.

    Raises:
        ClusterError: Ray does not tell.
    """
    return sum(
        actor["State"] == "ALIVE" and actor["Address"]["NodeID"] == node_id and "PackTrial" in actor["ActorClassName"]
        for actor in actors().values()
    )
