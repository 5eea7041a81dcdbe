"""Trains the runs of one stage after the other: cuts them into packs, publishes these, and has Ray Tune train them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.monitor import Monitor
from grok_sweeps.cluster.ray_private import moved
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.remaining import Remaining
from grok_sweeps.cluster.resources import Resources, stage_packs
from grok_sweeps.cluster.schedule import Limits, Schedule
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.plan import Pack, PlannedRun
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.train.work import pack_content


class PackRunner:
    """Trains the stages of one sweep; the first that has any runs makes the session ready.

    Args:
        store: the sweep's objects.
        remaining: what is left of it.
        execution: how to train.
        session: the Ray to train on.
        stopped: whether a stop was asked for.
        hours: counts the devices that packs hold.
        monitor: follows each stage's schedule, and asks for a stop where the budget is spent.
        say: tells the user.
        commit: that of the code.
        fence: of the lease under which the sweep is driven.
        trainable: the Tune trainable of a pack, `PackTrial` unless given.

    Attributes:
        errors: why runs have no row, one line each.
    """

    def __init__(
        self,
        store: SweepStore,
        remaining: Remaining,
        execution: Execution,
        session: RaySession,
        stopped: StopOnSignal,
        hours: DeviceHours,
        monitor: Monitor,
        say: Callable[[str], None],
        *,
        commit: str | None = None,
        fence: int | None = None,
        trainable: type | None = None,
    ) -> None:
        self._store, self._remaining, self._execution, self._session = store, remaining, execution, session
        self._stopped, self._hours, self._monitor, self._say = stopped, hours, monitor, say
        self._commit, self._fence, self._trainable = commit, fence, trainable
        self._chosen: Resources | None = None
        self.errors: list[str] = []

    def run_stage(self, stage: int) -> int:
        """Train what is left of a stage; return how many trials were started.

        Raises:
            ClusterError: the cluster cannot train them.
        """
        runs = self._remaining.runs(stage)
        if not runs or self._stopped.is_set() or not self._ready():
            return 0
        workers = self._session.room().workers
        packs = self._cut(runs, workers)
        self._say(
            f"stage {stage}: {len(runs)} runs in {len(packs)} packs on {workers} {self._resources.device} workers"
        )
        self._session.start()
        if self._stopped.is_set():  # meanwhile: starting takes seconds
            return 0
        limits = Limits(self._execution.max_failures, self._execution.stall_after_s)
        schedule = Schedule(packs, limits, self._session.room(), self._cut)
        self._monitor.begin_stage(schedule)
        n_trials = self._train(schedule)
        self._hours.hold(0)
        self.errors += [*schedule.errors, *schedule.given_up]
        return n_trials

    def _train(self, schedule: Schedule) -> int:
        from grok_sweeps.cluster.stop_request import StopRequest
        from grok_sweeps.cluster.trial import PackTrial
        from grok_sweeps.cluster.tune_packs import TunePacks

        request = StopRequest(f"grok-sweeps-stop-{secrets.token_hex(8)}")
        packs = TunePacks(
            schedule,
            self._session,
            publish=self._publish,
            left=self._remaining.left_of,
            say=self._say,
            stepped=lambda: self._hours.hold(schedule.packs["running"]),
            stopped=self._stopped,
            request=request,
        )
        config = {
            "store": self._store.objects.uri,
            "sweep": self._store.sweep,
            "bundle": self._resources.bundle,
            "stop_request": request.name,
            "fence": self._fence,
        }
        return packs.run(self._trainable or PackTrial, config)

    def _ready(self) -> bool:
        """Whether packs can train, at the latest now; not where a stop was asked for before they could."""
        if self._chosen is None:
            prepared = self._session.prepare(self._execution, self._store, self._say, self._stopped.is_set)
            if prepared is None:
                return False
            for line in moved():
                self._say(line)
            self._chosen = prepared
            self._hours.hold_each(prepared.bundle)
            self._monitor.check_budget()
        return not self._stopped.is_set()

    @property
    def _resources(self) -> Resources:
        assert self._chosen is not None
        return self._chosen

    def _cut(self, runs: Sequence[PlannedRun], workers: int) -> list[Pack]:
        """Packs for the workers that there are, and for those that are wanted: on a cluster, they may come."""
        wanted = 0 if self._execution.workers == "auto" else self._execution.workers
        return stage_packs(runs, replace(self._resources, workers=max(1, wanted, workers)))

    def _publish(self, pack: Pack) -> None:
        """Write what a worker needs to train a pack."""
        content = pack_content(
            self._remaining.work_of(pack),
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
