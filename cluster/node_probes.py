"""Tries out nodes: whether a worker there can use the store. A pack that cannot would fail there again and again.

Before training, all nodes are waited for; later each new one is asked beside the training, and one that failed is asked
again after a while, since credentials get mended.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grok_sweeps.cluster.doctor.store import PROBE_FOLDER
from grok_sweeps.cluster.nodes import Node, node_names
from grok_sweeps.cluster.ray_session import Tell
from grok_sweeps.errors import ClusterError, StoreError
from grok_sweeps.provenance import package_version
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.retries import Retries
from grok_sweeps.train.failed import one_line

STORE_WAIT_S = 5.0
"""How long a worker's store that does not answer is waited for."""
FIRST_S = 30.0
"""How long all nodes together have for their first answers; starting a worker takes seconds."""
AGAIN_S = 60.0
MOST_PROBED = 64
"""Nodes that are waited for at first."""


class NodeProbes:
    """Knows which nodes can train the sweep; those that have not answered yet are taken to.

    Args:
        store_uri: the store.
        sweep: a sweep in it.
        tell: is told of nodes that cannot, and of those that can again.
        clock: monotonic seconds; replaced in tests.
        ask: sends the question to a node; replaced in tests.
    """

    def __init__(
        self,
        store_uri: str,
        sweep: str,
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
        ask: Callable[[str, str, str], Any] | None = None,
    ) -> None:
        self._store_uri, self._sweep, self._tell, self._clock = store_uri, sweep, tell, clock
        self._ask = ask or _ask
        self._asked: dict[str, Any] = {}
        self._errors: dict[str, tuple[float, str]] = {}
        self._torch: dict[str, str] = {}

    @property
    def bad_nodes(self) -> frozenset[str]:
        """Ids of the nodes that cannot train."""
        return frozenset(self._errors)

    def first_look(self, nodes: Sequence[Node], bundle: Mapping[str, float]) -> str:
        """Ask the nodes that hold a pack, wait for their answers, and say in words what was found.

        Raises:
            ClusterError: none can train.
        """
        able = [node for node in nodes if node.packs(bundle)][:MOST_PROBED]
        for node in able:
            self._asked[node.node_id] = self._ask(node.node_id, self._store_uri, self._sweep)
        names = node_names(nodes)
        self._collect(names, FIRST_S)
        if len(self._errors) == len(able):
            raise ClusterError(f"no node can train: on {names[able[0].node_id]}, {self._errors[able[0].node_id][1]}")
        if len(kinds := Counter(self._torch.values())) > 1:
            self._tell(
                f"nodes differ in torch ({', '.join(sorted(kinds))}): a run's last bits depend on where it trains"
            )
        return f"{len(self._torch)} of {len(able)} nodes read and write {self._store_uri}"

    def look(self, nodes: Sequence[Node], bundle: Mapping[str, float]) -> None:
        """Take what was answered since, and ask nodes that are new or may have been mended. Takes no time."""
        names = node_names(nodes)
        able = {node.node_id for node in nodes if node.packs(bundle)}
        for known in (self._asked, self._errors, self._torch):
            for gone in known.keys() - able:
                del known[gone]
        self._collect(names, 0.0)
        for node_id in able - self._asked.keys() - self._torch.keys():
            if self._clock() - self._errors.get(node_id, (float("-inf"), ""))[0] >= AGAIN_S:
                self._asked[node_id] = self._ask(node_id, self._store_uri, self._sweep)

    def _collect(self, names: Mapping[str, str], wait_s: float) -> None:
        for node_id, answer in _answers(self._asked, wait_s).items():
            del self._asked[node_id]
            if "error" in answer:
                if node_id not in self._errors:
                    self._tell(f"no pack goes to node {names[node_id]}: {answer['error']}")
                self._errors[node_id] = (self._clock(), answer["error"])
            else:
                self._torch[node_id] = answer["torch"]
                if self._errors.pop(node_id, None) is not None:
                    self._tell(f"packs go to node {names[node_id]} again")


def _ask(node_id: str, store_uri: str, sweep: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    strategy = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(probe)
    return task.options(scheduling_strategy=strategy).remote(store_uri, sweep)


def _answers(asked: Mapping[str, Any], wait_s: float) -> dict[str, dict[str, Any]]:
    """The answers that are there, by node id."""
    import ray

    references = list(asked.values())
    done = set(ray.wait(references, num_returns=len(references), timeout=wait_s)[0]) if references else set()
    return {node_id: _answer(reference) for node_id, reference in asked.items() if reference in done}


def _answer(reference: Any) -> dict[str, Any]:
    import ray

    try:
        return dict(ray.get(reference))
    except Exception as error:  # whatever an import or a node's end makes of it
        cause = getattr(error, "cause", None) or error
        return {"error": f"{one_line(cause)}. Install what grok-sweeps needs on every node, as deploy/Dockerfile does."}


def probe(store_uri: str, sweep: str) -> dict[str, Any]:
    """On a node: find the sweep in the store, write there, and tell torch's version."""
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
