"""Nodes are tried out before packs go to them, and again when they may have been mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import grok_sweeps.cluster.node_probes
from grok_sweeps.cluster.node_probes import AGAIN_S, NodeProbes, probe
from grok_sweeps.cluster.nodes import Node
from grok_sweeps.errors import ClusterError
from grok_sweeps.store import SweepStore

CPU = {"CPU": 1.0}
GOOD = {"torch": "2.13.0"}
BAD = {"error": "no access"}


class Cluster:
    """Nodes that answer as they are told, once they are let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.told = 0.0, list[str]()
        self.answers: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.probes = NodeProbes("store", "sweep", self.told.append, lambda: self.now, self._ask)
        monkeypatch.setattr(grok_sweeps.cluster.node_probes, "_answers", self._answers)

    def _ask(self, node_id: str, *_: str) -> str:
        self.asked.append(node_id)
        return node_id

    def _answers(self, asked: Mapping[str, Any], _: float) -> dict[str, dict[str, str]]:
        return {node_id: self.answers[node_id] for node_id in asked if node_id in self.answers}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def nodes(*ids: str) -> list[Node]:
    return [Node(node_id, f"host-{node_id}", CPU) for node_id in ids]


def test_where_no_node_can_train_the_first_says_why_and_where_some_can_they_are_counted(there: Cluster) -> None:
    there.answers = {"a": BAD, "b": BAD}
    with pytest.raises(ClusterError, match="no node can train: on host-a, no access"):
        there.probes.first_look(nodes("a", "b"), CPU)


def test_a_bad_node_is_told_once_asked_again_and_used_when_it_is_mended(there: Cluster) -> None:
    there.answers = {"a": GOOD, "b": BAD}
    assert there.probes.first_look(nodes("a", "b"), CPU) == "1 of 2 nodes read and write store"
    assert there.probes.bad_nodes == {"b"}
    there.probes.look(nodes("a", "b"), CPU)
    assert there.asked == ["a", "b"], "not at once"
    for _ in range(2):
        there.now += AGAIN_S
        there.probes.look(nodes("a", "b"), CPU)
        there.probes.look(nodes("a", "b"), CPU)
    assert there.told == ["no pack goes to node host-b: no access"]
    there.answers["b"] = GOOD
    there.now += AGAIN_S
    there.probes.look(nodes("a", "b"), CPU)
    there.probes.look(nodes("a", "b"), CPU)
    assert there.probes.bad_nodes == frozenset()
    assert there.told[-1] == "packs go to node host-b again"
    assert there.asked == ["a", "b", "b", "b", "b"]


def test_a_node_that_joins_is_asked_and_one_that_is_gone_forgotten(there: Cluster) -> None:
    there.answers = {"a": GOOD}
    there.probes.first_look(nodes("a"), CPU)
    there.probes.look(nodes("a", "new"), CPU)
    assert there.asked == ["a", "new"]
    assert there.probes.bad_nodes == frozenset(), "until it has answered it may train"
    there.answers["new"] = BAD
    there.probes.look(nodes("a", "new"), CPU)
    assert there.probes.bad_nodes == {"new"}
    there.probes.look(nodes("a"), CPU)
    assert there.probes.bad_nodes == frozenset()
    there.probes.look([Node("tiny", "host-tiny", {"CPU": 0.5})], CPU)
    assert "tiny" not in there.asked, "no pack would go there"


def test_nodes_of_different_torch_are_told(there: Cluster) -> None:
    there.answers = {"a": GOOD, "b": {"torch": "2.12.0"}}
    there.probes.first_look(nodes("a", "b"), CPU)
    assert there.told == ["nodes differ in torch (2.12.0, 2.13.0): a run's last bits depend on where it trains"]


def test_a_node_that_sees_another_store_says_so(sweep_store: SweepStore) -> None:
    uri = sweep_store.objects.uri
    assert set(probe(uri, sweep_store.sweep)) == {"torch"}
    assert "does not hold the sweep: name a store that all nodes share" in probe(uri, "another")["error"]
    assert [info.name for info in sweep_store.objects.list(".grok-sweeps-doctor")] == []


def test_two_nodes_on_one_host_are_told_apart(there: Cluster) -> None:
    both = [Node("0123456789ab", "big", CPU), Node("fedcba987654", "big", CPU), Node("c", "small", CPU)]
    there.answers = {"0123456789ab": GOOD, "fedcba987654": BAD, "c": BAD}
    there.probes.first_look(both, CPU)
    assert sorted(there.told) == [
        "no pack goes to node big (fedcba98): no access",
        "no pack goes to node small: no access",
    ]
