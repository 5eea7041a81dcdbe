"""Packs on Ray Tune: one trial a pack, workers reused, nothing of Tune's own state kept."""

from __future__ import annotations

import logging
import secrets
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from cluster.monitor import Monitor
from cluster.pack_queue import PackQueue
from cluster.ray_session import RaySession
from cluster.resources import Resources
from cluster.stopping import StopOnSignal
from grok_sweeps.plan import Pack, Plan
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.todo import horizon
from grok_sweeps.train.work import pack_content


class PackRunner:
    """Trains the packs of one sweep's stages, one stage a call.

    `errors` say why packs were given up, one line each.
    """

    def __init__(
        self,
        store: SweepStore,
        plan: Plan,
        execution: Execution,
        resources: Resources,
        session: RaySession,
        monitor: Monitor,
        stopped: StopOnSignal,
        commit: str | None = None,
        trainable: type | None = None,
    ) -> None:
        self._store, self._plan, self._execution, self._resources = store, plan, execution, resources
        self._session, self._monitor, self._stopped, self._commit = session, monitor, stopped, commit
        self._trainable = trainable
        self.errors: list[str] = []

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
            f"stage {stage}: {n_runs} runs in {len(packs)} packs on {self._session.workers()} "
            f"{self._resources.device} workers"
        )
        self._session.start()
        self._stopped.listen()  # Ray takes SIGTERM for itself
        queue = PackQueue(packs, self._execution.max_failures, max(1, self._session.workers()))
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
            gpus_per_pack=self._resources.gpus_per_pack,
            engine=self._resources.engine,
            threads=self._resources.threads,
            checkpoint_every_s=self._execution.checkpoint_every_s,
            git_sha=self._commit,
        )
        self._store.put_pack(pack.pack_id, content)

    def _tuner(self, queue: PackQueue, left: Callable[[], frozenset[str]], extend_to: int | None) -> Any:
        from ray import tune

        from cluster.stalls import Stalls
        from cluster.stop_request import StopRequest
        from cluster.trial import PackTrial
        from cluster.tune_callback import PackProgress, PackSearch, StopAfterStates

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is told in one line
        request = StopRequest(f"grok-sweeps-stop-{secrets.token_hex(8)}")
        stalls = Stalls(self._execution.stall_after_s)
        progress = PackProgress(self._monitor, queue, left, stalls, self._session)
        return tune.Tuner(
            self._trainable or PackTrial,
            param_space={
                "store": self._store.objects.uri,
                "sweep": self._store.sweep,
                "bundle": self._resources.bundle,
                "stop_request": request.name,
            },
            tune_config=tune.TuneConfig(
                search_alg=PackSearch(queue, lambda pack: self._publish(pack, extend_to), self._monitor, self._session),
                num_samples=-1,  # until the queue is over
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=self._session.scratch,
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
