"""Packs on Ray Tune: one trial a pack, workers reused, nothing of Tune's own state kept."""

from __future__ import annotations

import logging
import secrets
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.monitor import Monitor
from grok_sweeps.cluster.pack_queue import PackQueue
from grok_sweeps.cluster.ray_private import moved
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.resources import Resources, stage_packs
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.errors import ClusterError
from grok_sweeps.plan import Pack, Plan, PlannedRun
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.train.failed import one_line
from grok_sweeps.train.work import RunWork, pack_content


class PackRunner:
    """Trains the runs of one sweep's stages, one stage a call; the first that has any makes the session ready.

    `errors` say why packs were given up, one line each.
    """

    def __init__(
        self,
        store: SweepStore,
        plan: Plan,
        execution: Execution,
        session: RaySession,
        monitor: Monitor,
        stopped: StopOnSignal,
        hours: DeviceHours,
        commit: str | None = None,
        trainable: type | None = None,
    ) -> None:
        self._store, self._plan, self._execution, self._session = store, plan, execution, session
        self._monitor, self._stopped, self._hours = monitor, stopped, hours
        self._commit, self._trainable = commit, trainable
        self._chosen: Resources | None = None
        self.errors: list[str] = []

    def run_stage(
        self,
        stage: int,
        runs: Sequence[PlannedRun],
        left: Callable[[Pack], frozenset[str]],
        work_of: Callable[[Pack], Iterable[RunWork]],
    ) -> int:
        """Train `runs` in packs; return how many trials were started.

        Args:
            stage: their stage.
            runs: what is to be trained.
            left: the run_ids of a pack that are still to do, asked when an attempt at it has failed.
            work_of: the runs of a pack that are still to do, with the states they go on from; asked when it is taken.
        """
        if not runs or self._stopped.is_set() or not self._ready():
            return 0
        packs = self._cut(runs)
        self._monitor.packs_planned(len(packs))
        self._monitor.event(
            f"stage {stage}: {len(runs)} runs in {len(packs)} packs on {self._session.workers()} "
            f"{self._resources.device} workers"
        )
        self._session.start()
        if self._stopped.is_set():  # meanwhile: starting takes seconds
            return 0
        queue = PackQueue(packs, self._execution.max_failures, max(1, self._session.workers()))
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"ray\.")  # its own deprecations
                results = self._tuner(queue, left, work_of).fit()
        except OSError as error:  # Tune writes its own state there
            raise ClusterError(
                f"Ray cannot use its temporary folder {self._session.scratch}: {one_line(error)}; make room, or set "
                "RAY_TMPDIR to another folder, and run the same command again."
            ) from error
        self.errors += queue.given_up
        return len(results)

    def _ready(self) -> bool:
        """Whether packs can train, at the latest now; not where a stop was asked for before they could."""
        if self._chosen is None:
            prepared = self._session.prepare(self._execution, self._store, self._monitor.event, self._stopped.is_set)
            if prepared is None:
                return False
            for line in moved():
                self._monitor.event(line)
            self._chosen = prepared
            self._hours.hold_each(prepared.bundle)
            self._monitor.check_budget()
        return not self._stopped.is_set()

    @property
    def _resources(self) -> Resources:
        assert self._chosen is not None
        return self._chosen

    def _cut(self, runs: Sequence[PlannedRun]) -> list[Pack]:
        """Packs for the workers that there are, and for those that are wanted: on a cluster, they may come."""
        wanted = 0 if self._execution.workers == "auto" else self._execution.workers
        return stage_packs(runs, replace(self._resources, workers=max(1, wanted, self._session.workers())))

    def _publish(self, pack: Pack, runs: Iterable[RunWork]) -> None:
        """Write what a worker needs to train a pack."""
        content = pack_content(
            runs,
            lanes=pack.lanes,
            device=self._resources.device,
            gpus_per_pack=self._resources.gpus_per_pack,
            engine=self._resources.engine,
            threads=self._resources.threads,
            checkpoint_every_s=self._execution.checkpoint_every_s,
            keep_states=self._execution.keep_states,
            git_sha=self._commit,
        )
        self._store.put_pack(pack.pack_id, content)

    def _tuner(
        self, queue: PackQueue, left: Callable[[Pack], frozenset[str]], work_of: Callable[[Pack], Iterable[RunWork]]
    ) -> Any:
        from ray import tune

        from grok_sweeps.cluster.pack_progress import PackProgress
        from grok_sweeps.cluster.pack_search import PackSearch
        from grok_sweeps.cluster.stalls import Stalls
        from grok_sweeps.cluster.stop_after_states import StopAfterStates
        from grok_sweeps.cluster.stop_request import StopRequest
        from grok_sweeps.cluster.trial import PackTrial

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is told in one line
        request = StopRequest(f"grok-sweeps-stop-{secrets.token_hex(8)}")
        stalls = Stalls(self._execution.stall_after_s)
        search = PackSearch(queue, lambda pack: self._publish(pack, work_of(pack)), self._monitor, self._session)
        progress = PackProgress(self._monitor, queue, left, stalls, self._session, search.pinned, self._cut)
        return tune.Tuner(
            self._trainable or PackTrial,
            param_space={
                "store": self._store.objects.uri,
                "sweep": self._store.sweep,
                "bundle": self._resources.bundle,
                "stop_request": request.name,
            },
            tune_config=tune.TuneConfig(
                search_alg=search,
                num_samples=-1,  # until the queue is over
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=self._session.scratch,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # it would need shared storage
                callbacks=[progress],
                stop=StopAfterStates(
                    lambda: self._stopped.is_set() or bool(self._monitor.sweep_errors),
                    queue,
                    request,
                    lambda: progress.under_way,
                ),
            ),
        )
