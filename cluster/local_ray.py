"""Packs on a local Ray with Ray Tune: one trial a pack, workers reused, nothing of Tune's own state kept.

Ray starts with the first pack, so a finished sweep costs no start-up, and ends with the context.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from cluster.monitor import Monitor
from cluster.pack_queue import PackQueue
from cluster.resources import Resources
from cluster.settings import prepare_ray
from cluster.stopping import StopOnSignal
from grok_sweeps.plan import Pack, Plan
from grok_sweeps.provenance import git_sha
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.todo import horizon
from grok_sweeps.train.work import pack_content


class LocalRay:
    """Trains the packs of one sweep's stages, one stage a call.

    `errors` say why packs were given up, one line each.
    """

    def __init__(
        self,
        store: SweepStore,
        plan: Plan,
        execution: Execution,
        resources: Resources,
        monitor: Monitor,
        stopped: StopOnSignal,
        trainable: type | None = None,
    ) -> None:
        self._store, self._plan, self._execution, self._resources = store, plan, execution, resources
        self._monitor, self._stopped, self._trainable = monitor, stopped, trainable
        self._scratch: str | None = None
        self.errors: list[str] = []

    def __enter__(self) -> LocalRay:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._scratch is not None:
            import ray

            ray.shutdown()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def run_stage(
        self,
        stage: int,
        packs: Sequence[Pack],
        left: Callable[[], frozenset[str]],
        extend_to: int | None = None,
    ) -> int:
        """Train `packs`; return how many trials were started.

        Args:
            stage: their stage.
            packs: what to train, the heaviest first.
            left: the run_ids that are still to do, asked when an attempt has failed.
            extend_to: a longer budget for all runs.
        """
        if not packs or self._stopped.is_set():
            return 0
        n_runs = sum(len(pack.runs) for pack in packs)
        self._monitor.packs_planned(len(packs))
        self._monitor.event(
            f"stage {stage}: {n_runs} runs in {len(packs)} packs on {self._resources.workers} "
            f"{self._resources.device} workers"
        )
        self._start_ray()
        queue = PackQueue(packs, self._execution.max_failures, self._resources.workers)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.")  # its own deprecations
            results = self._tuner(queue, left, extend_to).fit()
        self.errors += queue.given_up
        return len(results)

    def _publish(self, pack: Pack, extend_to: int | None) -> None:
        """Write what a worker needs to train a pack."""
        content = pack_content(
            pack.runs,
            self._plan.parents,
            {run.run_id: horizon(run.config, extend_to) for run in pack.runs},
            lanes=pack.lanes,
            device=self._resources.device,
            engine=self._resources.engine,
            threads=self._resources.threads,
            checkpoint_every_s=self._execution.checkpoint_every_s,
            git_sha=git_sha(),
        )
        self._store.put_pack(pack.pack_id, content)

    def _start_ray(self) -> None:
        if self._scratch is not None:
            return
        prepare_ray()
        import ray

        self._scratch = tempfile.mkdtemp(prefix="grok-sweeps-")
        gpus = self._resources.workers if self._resources.device == "cuda" else 0
        ray.init(
            address="local",
            num_cpus=self._resources.workers * self._resources.threads,
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 << 20,
        )
        self._stopped.listen()

    def _tuner(self, queue: PackQueue, left: Callable[[], frozenset[str]], extend_to: int | None) -> Any:
        from ray import tune

        from cluster.stop_request import StopRequest
        from cluster.trial import PackTrial
        from cluster.tune_callback import PackProgress, PackSearch, StopAfterStates

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is told in one line
        request = StopRequest(f"grok-sweeps-stop-{secrets.token_hex(8)}")
        progress = PackProgress(self._monitor, queue, left)
        return tune.Tuner(
            self._trainable or PackTrial,
            param_space={
                "store": self._store.objects.uri,
                "sweep": self._store.sweep,
                "bundle": self._resources.bundle,
                "stop_request": request.name,
            },
            tune_config=tune.TuneConfig(
                search_alg=PackSearch(queue, lambda pack: self._publish(pack, extend_to), self._monitor),
                num_samples=-1,  # until the queue is over
                reuse_actors=True,
                max_concurrent_trials=self._resources.workers,
            ),
            run_config=tune.RunConfig(
                storage_path=self._scratch,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[progress],
                stop=StopAfterStates(
                    lambda: self._stopped.is_set() or bool(self._monitor.sweep_errors),
                    queue,
                    request,
                    lambda: progress.under_way,
                ),
            ),
        )
