"""A Ray of this process alone, on this machine. It starts with the first pack: a finished sweep costs no start-up."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable

from grok_sweeps.cluster.nodes import packs_a_gpu
from grok_sweeps.cluster.ray_session import Tell
from grok_sweeps.cluster.resources import Resources
from grok_sweeps.cluster.settings import prepare_ray
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore


class LocalRay:
    """The `RaySession` of a machine by itself."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.scratch = ""
        self.bad_nodes: frozenset[str] = frozenset()

    def prepare(
        self,
        execution: Execution,  # noqa: ARG002
        store: SweepStore,  # noqa: ARG002
        tell: Tell,  # noqa: ARG002
        stopped: Callable[[], bool],  # noqa: ARG002
    ) -> Resources:
        """This machine was looked at before."""
        return self._resources

    def start(self) -> None:
        """Start Ray with as many CPUs and GPUs as the workers take."""
        if self.scratch:
            return
        prepare_ray()
        import ray

        self.scratch = tempfile.mkdtemp(prefix="grok-sweeps-")
        ray.init(
            address="local",
            num_cpus=self._resources.workers * self._resources.threads,
            num_gpus=self._gpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 << 20,
        )

    def _gpus(self) -> int:
        if self._resources.device != "cuda":
            return 0
        return -(-self._resources.workers // packs_a_gpu(self._resources.gpus_per_pack))

    def close(self) -> None:
        """End Ray."""
        if self.scratch:
            import ray

            ray.shutdown()
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch = ""

    def workers(self) -> int:
        """See `RaySession`."""
        return self._resources.workers

    def most_taken(self) -> int:
        """See `RaySession`."""
        return self._resources.workers

    def has_room_without(self, nodes: frozenset[str]) -> bool:
        """There is one node."""
        return not nodes
