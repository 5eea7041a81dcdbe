"""Which nodes hold a pack, how many, and what is said where none does."""

from __future__ import annotations

import pytest

from grok_sweeps.cluster.nodes import GIB, Node, describe_bundle, describe_nodes, packs_that_fit, pool_of
from grok_sweeps.cluster.resources import choose_cluster_resources, choose_resources
from grok_sweeps.cluster.settings import Machine
from grok_sweeps.errors import ClusterError, SpecError
from grok_sweeps.plan.rates import Pool
from grok_sweeps.spec import Execution

H100 = {"CPU": 16.0, "GPU": 8.0, "memory": 64.0 * GIB, "accelerator_type:H100": 1.0}
HEAD = Node("head", "h", {"memory": 8.0 * GIB})
CORES = Node("cores", "c", {"CPU": 7.0})
GPUS = Node("gpus", "g", H100)


@pytest.mark.parametrize(
    ("bundle", "packs"),
    [
        ({"CPU": 1.0, "GPU": 1.0}, 8),
        ({"CPU": 1.0, "GPU": 0.5}, 16),
        ({"CPU": 0.0, "GPU": 0.3}, 24),  # three on each GPU, and none across two
        ({"CPU": 4.0, "GPU": 1.0}, 4),
        ({"CPU": 1.0, "GPU": 1.0, "memory": 20.0 * GIB}, 3),
        ({"CPU": 1.0, "GPU": 1.0, "accelerator_type:H100": 0.001}, 8),
        ({"CPU": 1.0, "GPU": 1.0, "accelerator_type:A100": 0.001}, 0),
        ({"CPU": 17.0}, 0),
    ],
)
def test_a_node_holds_as_many_packs_as_its_scarcest_resource(bundle: dict[str, float], packs: int) -> None:
    assert GPUS.packs(bundle) == packs


def test_room_is_what_nodes_that_stay_and_are_not_avoided_offer() -> None:
    bundle = {"CPU": 2.0}
    assert packs_that_fit([HEAD, CORES, GPUS], bundle) == 3 + 8
    assert packs_that_fit([HEAD, CORES, GPUS], bundle, avoid={"gpus"}) == 3
    assert packs_that_fit([Node("cores", "c", {"CPU": 7.0}, draining=True)], bundle) == 0


def test_a_cluster_trains_on_its_gpus_unless_told_otherwise() -> None:
    nodes = [HEAD, CORES, GPUS]
    auto = choose_cluster_resources(Execution(), nodes)
    assert (auto.device, auto.workers, auto.bundle) == ("cuda", 8, {"CPU": 1.0, "GPU": 1.0})
    halves = choose_cluster_resources(Execution(gpus_per_pack=0.5, accelerator_type="H100", memory_gb=4.0), nodes)
    assert halves.bundle == {"CPU": 1.0, "GPU": 0.5, "accelerator_type:H100": 0.001, "memory": 4.0 * GIB}
    assert halves.workers == 16
    cpu = choose_cluster_resources(Execution(device="cpu", threads=2, workers=3), nodes)
    assert (cpu.device, cpu.workers, cpu.bundle) == ("cpu", 3, {"CPU": 2.0})
    assert choose_cluster_resources(Execution(), [CORES]).device == "cpu"
    assert pool_of(nodes, halves.bundle) == Pool(8, "H100")
    assert pool_of(nodes, cpu.bundle) == Pool(23, "cpu")


def test_without_room_the_error_names_what_is_asked_for_what_there_is_and_what_to_do() -> None:
    execution = Execution(accelerator_type="A100", gpus_per_pack=0.25)
    with pytest.raises(ClusterError) as caught:
        choose_cluster_resources(execution, [HEAD, CORES, GPUS, Node("gpus2", "g2", H100, draining=True)])
    said = str(caught.value)
    assert "one asks for 1 CPU, 0.25 GPU, A100, and there are 1 node with nothing; 1 node with 7 CPU; " in said
    assert "1 node with 16 CPU, 8 GPU, H100; 1 node with 16 CPU, 8 GPU, H100 (draining)." in said
    assert "--wait-for-nodes" in said
    with pytest.raises(ClusterError, match="no node is alive"):
        choose_cluster_resources(Execution(), [])
    with pytest.raises(SpecError, match=r"execution\.engine: 'fused' does not train on cpu"):
        choose_cluster_resources(Execution(engine="fused"), [CORES])


def test_many_kinds_of_nodes_are_not_all_listed() -> None:
    nodes = [Node(str(k), "n", {"CPU": float(k)}) for k in range(1, 10)]
    assert describe_nodes(nodes, {}).endswith("1 node with 6 CPU; 3 other kinds")
    assert describe_bundle({"CPU": 1.0, "memory": 1.5 * GIB}) == "1 CPU, 1.5 GiB memory"


def test_packs_share_a_gpu_of_this_machine_by_their_fraction() -> None:
    shared = choose_resources(Execution(gpus_per_pack=0.5, accelerator_type="H100", memory_gb=1.0), Machine(8, 2))
    assert (shared.workers, shared.bundle) == (4, {"CPU": 1.0, "GPU": 0.5})
    with pytest.raises(SpecError, match=r"5 is more than this machine's 2 CUDA devices hold, 2 each"):
        choose_resources(Execution(gpus_per_pack=0.5, workers=5), Machine(8, 2))
