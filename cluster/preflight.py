"""What the driver finds out about its cluster before it trains: that there is room, and that nodes can use the store.

A pack that no node can hold, or a worker without credentials, would otherwise be a sweep that waits without a word.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from cluster.doctor.store import PROBE_FOLDER
from cluster.joined_ray import JoinedRay
from cluster.nodes import Node, describe_bundle, packs_that_fit
from cluster.resources import Resources, choose_cluster_resources
from grok_sweeps.errors import ClusterError, StoreError
from grok_sweeps.provenance import package_version
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.retries import Retries
from grok_sweeps.train.failed import one_line

LOOK_EVERY_S = 2.0
STORE_WAIT_S = 5.0
"""How long a worker's store that does not answer is waited for."""
PROBE_S = 30.0
"""How long all nodes together have for their answers; starting a worker takes seconds."""
MOST_PROBED = 64
"""Nodes that are asked: what is wrong with one of a hundred is found while training."""


def wait_for_room(
    session: JoinedRay,
    execution: Execution,
    wait_s: float,
    tell: Callable[[str], None],
) -> Resources:
    """What packs train with, once the cluster has room for one; `tell` is told when that takes time.

    Raises:
        ClusterError: there is no room within `wait_s` seconds.
    """
    until, told = time.monotonic() + wait_s, False
    while True:
        try:
            return choose_cluster_resources(execution, session.nodes())
        except ClusterError as error:
            if time.monotonic() >= until:
                raise
            if not told:
                tell(f"up to {wait_s:g} s: {error}")
            told = True
            time.sleep(LOOK_EVERY_S)


def check_nodes(session: JoinedRay, resources: Resources, store: SweepStore, tell: Callable[[str], None]) -> str:
    """Have each node that can hold a pack use the store; return what was found in a few words.

    Where it does not work is told, and no pack goes there.

    Raises:
        ClusterError: no node works.
    """
    nodes = session.nodes()
    able = [node for node in nodes if node.packs(resources.bundle)]
    probed = able[:MOST_PROBED]
    answers = _ask(probed, store)
    wrong = [(node, answer["error"]) for node, answer in zip(probed, answers, strict=True) if "error" in answer]
    if len(wrong) == len(probed):
        raise ClusterError(f"no node can train: on {wrong[0][0].host}, {wrong[0][1]}")
    for node, why in wrong:
        tell(f"no pack goes to node {node.host}: {why}")
    session.bad_nodes = frozenset(node.node_id for node, _ in wrong)
    torches = Counter(answer["torch"] for answer in answers if "torch" in answer)
    if len(torches) > 1:
        tell(f"nodes differ in torch ({', '.join(sorted(torches))}): a run's last bits depend on where it trains")
    room = packs_that_fit(able, resources.bundle, session.bad_nodes)
    on = f"{len(able) - len(wrong)} of {len(nodes)} nodes"
    return (
        f"room for {room} packs of {describe_bundle(resources.bundle)} on {on}; "
        f"{len(probed) - len(wrong)} of {len(probed)} read and write {store.objects.uri}"
    )


def _ask(nodes: Sequence[Node], store: SweepStore) -> list[dict[str, Any]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(probe)
    asked = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)).remote(
            store.objects.uri, store.sweep
        )
        for node in nodes
    ]
    answered = set(ray.wait(asked, num_returns=len(asked), timeout=PROBE_S)[0])
    return [_answer(one) if one in answered else {"error": f"no answer in {PROBE_S:.0f} s"} for one in asked]


def _answer(reference: Any) -> dict[str, Any]:
    import ray

    try:
        return dict(ray.get(reference))
    except Exception as error:  # whatever an import or a node's end makes of it
        cause = getattr(error, "cause", None) or error
        return {"error": f"{one_line(cause)}. Install what grok-sweeps needs on every node, as deploy/Dockerfile does."}


def probe(store_uri: str, sweep: str) -> dict[str, Any]:
    """On a node: find the sweep in the store, write there, and tell the versions."""
    try:
        objects = open_objects(store_uri, Retries(give_up_after_s=STORE_WAIT_S))
        if not SweepStore(objects, sweep).exists():
            return {"error": f"{store_uri} does not hold the sweep: name a store that all nodes share, as a bucket is."}
        name = f"{PROBE_FOLDER}/{secrets.token_hex(8)}"
        objects.put(name, b"preflight")
        objects.delete(name)
    except StoreError as error:
        return {"error": f"{error} Give the nodes credentials for the store: a role, or the usual variables."}
    return {"torch": package_version("torch") or "missing"}
