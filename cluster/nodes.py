"""The nodes of a Ray cluster, and how many packs they have room for. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from grok_sweeps.plan.rates import CPU, Pool

GIB = 1 << 30
TYPE = "accelerator_type:"
"""What the resources that stand for a GPU's type begin with."""
_NODES_SHOWN = 6
_ID_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is alive, with its total resources by Ray's names. A `draining` one takes no new packs."""

    node_id: str
    host: str
    resources: Mapping[str, float]
    draining: bool = False

    def packs(self, bundle: Mapping[str, float]) -> int:
        """How many packs of this bundle it holds at once; a GPU is shared by packs that fit it whole."""
        if self.draining:
            return 0
        return min(_times(self.resources.get(name, 0.0), name, amount) for name, amount in bundle.items() if amount)


def node_names(nodes: Sequence[Node]) -> dict[str, str]:
    """What to call each node, by its id: its host, with the first digits of its id where a host has several."""
    shared = Counter(node.host for node in nodes)
    return {
        node.node_id: node.host if shared[node.host] == 1 else f"{node.host} ({node.node_id[:_ID_SHOWN]})"
        for node in nodes
    }


def packs_a_gpu(share: float) -> int:
    """How many packs that each take this share of a GPU, at most 1, share one."""
    return int(1 / share + 1e-9)


def _times(total: float, name: str, amount: float) -> int:
    if name == "GPU" and amount < 1:
        return int(total) * packs_a_gpu(amount)
    return int(total / amount + 1e-9)


def packs_that_fit(nodes: Iterable[Node], bundle: Mapping[str, float], avoid: Collection[str] = ()) -> int:
    """How many packs of this bundle all nodes hold at once, without those whose id is in `avoid`."""
    return sum(node.packs(bundle) for node in nodes if node.node_id not in avoid)


def pool_of(nodes: Iterable[Node], bundle: Mapping[str, float]) -> Pool:
    """The devices of the nodes that hold packs of this bundle: cores, or GPUs of the commonest type."""
    able = [node for node in nodes if node.packs(bundle)]
    if not bundle.get("GPU"):
        return Pool(int(sum(node.resources.get("CPU", 0.0) for node in able)), CPU)
    types = Counter(name.removeprefix(TYPE) for node in able for name in node.resources if name.startswith(TYPE))
    kind = types.most_common(1)[0][0] if types else "GPU"
    return Pool(int(sum(node.resources["GPU"] for node in able)), kind)


def describe_bundle(bundle: Mapping[str, float]) -> str:
    """A bundle, or a node's resources, as `1 CPU, 0.5 GPU, 4 GiB memory, H100`."""
    parts = []
    for name, amount in bundle.items():
        if name.startswith(TYPE):
            parts.append(name.removeprefix(TYPE))
        elif name == "memory":
            parts.append(f"{amount / GIB:.3g} GiB memory")
        else:
            parts.append(f"{amount:g} {name}")
    return ", ".join(parts)


def describe_nodes(nodes: Sequence[Node], bundle: Mapping[str, float]) -> str:
    """What nodes offer that a bundle may ask for, equal ones counted: `2 nodes with 8 CPU, 1 GPU, H100`."""
    kinds = ["CPU", "GPU", *(["memory"] if "memory" in bundle else [])]
    offers: dict[str, int] = {}
    for node in nodes:
        shown = {name: node.resources[name] for name in kinds if node.resources.get(name)}
        types = {name: 1.0 for name in node.resources if name.startswith(TYPE)}
        offer = describe_bundle({**shown, **types}) or "nothing"
        offer += " (draining)" if node.draining else ""
        offers[offer] = offers.get(offer, 0) + 1
    said = [f"{n} node{'s' if n > 1 else ''} with {offer}" for offer, n in list(offers.items())[:_NODES_SHOWN]]
    more = len(offers) - _NODES_SHOWN
    return "; ".join(said) + (f"; {more} other kinds" if more > 0 else "") if offers else "no node is alive"
