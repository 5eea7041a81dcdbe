"""From a spec's `execution` and a machine to how many workers train how many lanes where."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.settings import Machine
from grok_sweeps.config import RunConfig
from grok_sweeps.engines import ENGINES
from grok_sweeps.errors import SpecError
from grok_sweeps.plan.width import auto_lanes
from grok_sweeps.spec import Execution


@dataclass(frozen=True, slots=True)
class Resources:
    """How packs are trained: `workers` at once, each with `lanes` lanes and `threads` threads on `device`.

    `lanes` None leaves the number to the shape of the runs. `engine` is one of `grok_sweeps.train.engine`, or auto.
    """

    workers: int
    lanes: int | None
    device: str
    pack_runs: int | None
    engine: str = "auto"
    threads: int = 1

    def lanes_of(self, config: RunConfig) -> int:
        """Lanes of a worker that trains runs of this shape."""
        return self.lanes or auto_lanes(config, self.device)

    @property
    def bundle(self) -> dict[str, float]:
        """Ray resources of one worker."""
        return {"CPU": 1.0, "GPU": 1.0} if self.device == "cuda" else {"CPU": float(self.threads)}


def choose_resources(execution: Execution, machine: Machine) -> Resources:
    """Fill in what `execution` leaves to the machine.

    Raises:
        SpecError: more CUDA devices are asked for than there are.
    """
    if execution.device == "cuda" and not machine.gpus:
        raise SpecError("execution.device: 'cuda' is asked for and this machine has no CUDA device; use auto or cpu.")
    device = "cuda" if machine.gpus and execution.device != "cpu" else "cpu"
    engines = ENGINES[device]
    if execution.engine not in ("auto", *engines):
        raise SpecError(
            f"execution.engine: '{execution.engine}' does not train on {device}; use auto, {' or '.join(engines)}."
        )
    # One thread a worker: a lane's products are too small to share, and a worker on every core does them at once.
    threads = 1 if execution.threads == "auto" else execution.threads
    units = machine.gpus if device == "cuda" else max(1, machine.cpus // threads)
    workers = units if execution.workers == "auto" else execution.workers
    if device == "cuda" and workers > machine.gpus:
        raise SpecError(
            f"execution.workers: {workers} is more than this machine's {machine.gpus} CUDA devices, and a worker takes "
            "one."
        )
    lanes = None if execution.lanes == "auto" else execution.lanes
    pack_runs = None if execution.pack_runs == "auto" else execution.pack_runs
    return Resources(workers, lanes, device, pack_runs, execution.engine, threads)
