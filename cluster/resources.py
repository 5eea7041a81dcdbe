"""From a spec's `execution` and a machine, or a cluster's nodes, to how many workers train how many lanes where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from grok_sweeps.cluster.nodes import GIB, TYPE, Node, describe_bundle, describe_nodes, packs_a_gpu, packs_that_fit
from grok_sweeps.cluster.settings import Machine
from grok_sweeps.config import RunConfig
from grok_sweeps.engines import ENGINES
from grok_sweeps.errors import ClusterError, SpecError
from grok_sweeps.plan import Pack, PlannedRun, make_packs
from grok_sweeps.plan.width import auto_lanes
from grok_sweeps.spec import Execution


@dataclass(frozen=True, slots=True)
class Resources:
    """How packs are trained: `workers` at once, each with `lanes` lanes and `threads` threads on `device`.

    `lanes` None leaves the number to the shape of the runs. `engine` is one of `grok_sweeps.train.engine`, or auto.
    `gpus_per_pack` is the share of a GPU, and of its memory, that a worker takes.
    """

    workers: int
    lanes: int | None
    device: str
    pack_runs: int | None
    engine: str = "auto"
    threads: int = 1
    gpus_per_pack: float = 1.0
    accelerator_type: str | None = None
    memory_gb: float | None = None

    def lanes_of(self, config: RunConfig) -> int:
        """Lanes of a worker that trains runs of this shape."""
        return self.lanes or auto_lanes(config, self.device)

    @property
    def bundle(self) -> dict[str, float]:
        """Ray resources of one worker."""
        bundle = {"CPU": 1.0, "GPU": self.gpus_per_pack} if self.device == "cuda" else {"CPU": float(self.threads)}
        if self.accelerator_type is not None:
            bundle[TYPE + self.accelerator_type] = 0.001  # a node has 1 of its type, for all its packs
        if self.memory_gb is not None:
            bundle["memory"] = self.memory_gb * GIB
        return bundle


def choose_resources(execution: Execution, machine: Machine) -> Resources:
    """Fill in what `execution` leaves to the machine.

    Raises:
        SpecError: more CUDA devices are asked for than there are.
    """
    if execution.device == "cuda" and not machine.gpus:
        raise SpecError("execution.device: 'cuda' is asked for and this machine has no CUDA device; use auto or cpu.")
    device = "cuda" if machine.gpus and execution.device != "cpu" else "cpu"
    threads = _threads(execution)
    a_gpu = packs_a_gpu(execution.gpus_per_pack)
    most = machine.gpus * a_gpu
    units = most if device == "cuda" else max(1, machine.cpus // threads)
    workers = units if execution.workers == "auto" else execution.workers
    if device == "cuda" and workers > most:
        raise SpecError(
            f"execution.workers: {workers} is more than this machine's {machine.gpus} CUDA devices hold, "
            f"{a_gpu} each (execution.gpus_per_pack)."
        )
    # Which node a pack goes to is no question here.
    return replace(_resources(execution, device, workers), accelerator_type=None, memory_gb=None)


def choose_cluster_resources(execution: Execution, nodes: Sequence[Node]) -> Resources:
    """Fill in what `execution` leaves to the nodes of a cluster; `workers` are those that train at once now.

    Raises:
        ClusterError: no node holds one pack.
    """
    resources = wanted_resources(execution, nodes)
    fit = packs_that_fit(nodes, resources.bundle)
    if not fit:
        raise ClusterError(
            f"no node can hold a pack: one asks for {describe_bundle(resources.bundle)}, and there are "
            f"{describe_nodes(nodes, resources.bundle)}. Ask for less (execution.device, threads, gpus_per_pack, "
            "accelerator_type, memory_gb), or, where nodes come on demand, wait for them: --wait-for-nodes SECONDS."
        )
    return replace(resources, workers=fit if execution.workers == "auto" else min(fit, execution.workers))


def wanted_resources(execution: Execution, nodes: Sequence[Node]) -> Resources:
    """What one pack would take of such a cluster, whether or not there is room for it."""
    has_gpus = any(node.resources.get("GPU") for node in nodes)
    gpus = has_gpus or execution.accelerator_type is not None
    wants_cuda = execution.device == "cuda" or (execution.device == "auto" and gpus)
    return _resources(execution, "cuda" if wants_cuda else "cpu", 1)


def stage_packs(runs: Sequence[PlannedRun], resources: Resources) -> list[Pack]:
    """The packs of runs that can start together."""
    return make_packs(runs, workers=resources.workers, lanes=resources.lanes_of, pack_runs=resources.pack_runs)


def _threads(execution: Execution) -> int:
    # One thread a worker: a lane's products are too small to share, and a worker on every core does them at once.
    return 1 if execution.threads == "auto" else execution.threads


def _resources(execution: Execution, device: str, workers: int) -> Resources:
    engines = ENGINES[device]
    if execution.engine not in ("auto", *engines):
        raise SpecError(
            f"execution.engine: '{execution.engine}' does not train on {device}; use auto, {' or '.join(engines)}."
        )
    return Resources(
        workers,
        None if execution.lanes == "auto" else execution.lanes,
        device,
        None if execution.pack_runs == "auto" else execution.pack_runs,
        execution.engine,
        _threads(execution),
        execution.gpus_per_pack,
        execution.accelerator_type,
        execution.memory_gb,
    )
