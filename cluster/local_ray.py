"""A Ray of this process alone, on this machine. It starts with the first pack: a finished sweep costs no start-up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from grok_sweeps.cluster.nodes import packs_a_gpu
from grok_sweeps.cluster.ray_folder import ALSO, OBJECT_STORE_BYTES, RayFolder, plasma_folder
from grok_sweeps.cluster.ray_private import read_authentication
from grok_sweeps.cluster.ray_processes import OwnSession
from grok_sweeps.cluster.ray_session import Tell
from grok_sweeps.cluster.ray_state import this_node
from grok_sweeps.cluster.resources import Resources
from grok_sweeps.cluster.schedule import Room
from grok_sweeps.cluster.settings import own_token, prepare_ray, temporary_folders
from grok_sweeps.cluster.stopping import STATES_WAIT_S
from grok_sweeps.errors import ClusterError
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.train.failed import one_line

LOOK_EVERY_S = 0.2
"""Between two looks at whether Ray's processes are there."""


class LocalRay:
    """The `RaySession` of a machine by itself."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.scratch = ""
        self._after = ExitStack()
        self._node = ""
        self._processes = OwnSession()
        self._closing = threading.Event()
        self._watching: threading.Thread | None = None
        self._end: Callable[[str], None] = lambda reason: None  # noqa: ARG005

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
        """Start Ray with as many CPUs and GPUs as the workers take.

        Raises:
            ClusterError: it does not start here.
        """
        if self.scratch:
            return
        prepare_ray()
        with ExitStack() as undo:
            folder = RayFolder([*temporary_folders(), *ALSO])
            undo.callback(folder.remove)
            undo.callback(read_authentication)
            undo.enter_context(own_token())
            read_authentication()
            scratch = folder.path / "tune"
            scratch.mkdir()
            self._init(folder.path)
            self.scratch = str(scratch)
            self._after = undo.pop_all()

    def _init(self, folder: Path) -> None:
        import ray

        try:
            with self._processes.starting(folder):
                ray.init(
                    address="local",
                    num_cpus=self._resources.workers * self._resources.threads,
                    num_gpus=self._gpus(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(folder),
                    _plasma_directory=plasma_folder(folder),
                )
        except Exception as error:  # whatever is amiss with the machine: Ray raises what it comes upon
            ray.shutdown()
            self._processes.kill()
            raise ClusterError(
                f"Ray does not start on this machine: {one_line(error)} `grok-sweeps doctor` looks for the reason."
            ) from error
        self._node = this_node()
        self._watching = threading.Thread(target=self._watch, name="ray-watch", daemon=True)
        self._watching.start()

    def on_loss(self, end: Callable[[str], None]) -> None:
        """Call `end` with the reason once Ray has died and its workers have written what they could."""
        self._end = end

    def _watch(self) -> None:
        """Ray itself hangs for a minute where its GCS has died, and then aborts this process."""
        while not self._closing.wait(LOOK_EVERY_S):
            if lost := self._processes.lost():
                self._processes.end_workers("PackTrial", STATES_WAIT_S)
                if not self._closing.is_set():
                    self._end(f"Ray's {lost} has ended")
                return

    def _gpus(self) -> int:
        if self._resources.device != "cuda":
            return 0
        return -(-self._resources.workers // packs_a_gpu(self._resources.gpus_per_pack))

    def close(self) -> None:
        """End Ray."""
        if self._watching is not None and self._processes.lost():  # it ends the process once the states are written
            self._watching.join()
        self._closing.set()
        if self.scratch:
            import ray

            ray.shutdown()
            self._processes.kill()
            self._after.close()
            self.scratch = ""

    def room(self) -> Room:
        """See `RaySession`; there is one node."""
        workers = self._resources.workers
        return Room(workers, workers, {self._node: workers})
