"""From a spec's `execution` and a machine to how many workers train how many lanes where."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.settings import Machine
from grok_sweeps.errors import SpecError
from grok_sweeps.spec import Execution

CPU_LANES = 1
"""Lanes a CPU worker trains at once: one lane's tensors fill a core's cache, two no longer fit."""
GPU_LANES = 128


@dataclass(frozen=True, slots=True)
class Resources:
    """How packs are trained: `workers` at once, each with `lanes` lanes on `device`."""

    workers: int
    lanes: int
    device: str
    pack_runs: int | None

    @property
    def bundle(self) -> dict[str, float]:
        """Ray resources of one worker."""
        return {"CPU": 1.0, "GPU": 1.0} if self.device == "cuda" else {"CPU": 1.0}


def choose_resources(execution: Execution, machine: Machine) -> Resources:
    """Fill in what `execution` leaves to the machine.

    Raises:
        SpecError: more CUDA devices are asked for than there are.
    """
    if execution.device == "cuda" and not machine.gpus:
        raise SpecError("execution.device: 'cuda' is asked for and this machine has no CUDA device; use auto or cpu.")
    device = "cuda" if machine.gpus and execution.device != "cpu" else "cpu"
    workers = execution.workers if execution.workers != "auto" else (machine.gpus if device == "cuda" else machine.cpus)
    if device == "cuda" and workers > machine.gpus:
        raise SpecError(
            f"execution.workers: {workers} is more than this machine's {machine.gpus} CUDA devices, and a worker takes "
            "one."
        )
    lanes = execution.lanes if execution.lanes != "auto" else (GPU_LANES if device == "cuda" else CPU_LANES)
    return Resources(workers, lanes, device, None if execution.pack_runs == "auto" else execution.pack_runs)
