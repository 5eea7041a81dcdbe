"""The driver: do the runs of a plan that have no row yet, stage by stage, on Ray Tune.

Everything it needs to know is in the store, so it may be killed at any moment and started again anywhere. It asks the
store what is missing, packs that, and hands the packs to Tune by id; what becomes of a pack that fails is decided in
`schedule`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from grok_sweeps.calibration import resolve_control
from grok_sweeps.cluster.compactor import Compactor
from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.hooks import Hooks, open_hooks
from grok_sweeps.cluster.journal import Journal, driver_identity
from grok_sweeps.cluster.monitor import Monitor, View
from grok_sweeps.cluster.pack_runner import PackRunner
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.remaining import Remaining
from grok_sweeps.cluster.stage_order import StageOrder, runs_are
from grok_sweeps.cluster.stopping import STOPPED_FOR_A_REASON, StopOnSignal
from grok_sweeps.errors import CalibrationError, ClusterError, GrokSweepsError
from grok_sweeps.plan import Plan
from grok_sweeps.progress import Progress
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.lease import Lease
from grok_sweeps.store.rows import RowLog, delete_failed
from grok_sweeps.train.failed import one_line


class TakeLease(Protocol):
    """Takes a sweep's lease for as long as a context lasts; None where it is driven without one."""

    def __call__(self, *, stopped: Callable[[], bool]) -> AbstractContextManager[Lease | None]:
        """Wait for it until a stop is asked for."""


def unleased(*, stopped: Callable[[], bool]) -> AbstractContextManager[None]:  # noqa: ARG001
    """No lease."""
    return nullcontext()


SHOW_CURSOR = "\x1b[?25h"


@dataclass(frozen=True, slots=True)
class DriveOptions:
    """What a user may ask of a driver.

    Attributes:
        extend_to: a longer budget for censored runs, which go on from their final states.
        failed_again: delete the rows of failed runs first, so that they are trained again.
        max_device_hours: the budget of `grok_sweeps.cluster.device_hours`, over all drivers of the sweep.
        commit: that of the code.
        driver: who drives, see `journal.driver_identity`.
    """

    extend_to: int | None = None
    failed_again: bool = False
    max_device_hours: float | None = None
    commit: str | None = None
    driver: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a sweep ended: `state` is finished (every run has its row), interrupted or failed.

    `errors` say why runs have no row, one line each; `reason` why it was interrupted, where it was not by a signal.
    """

    state: str
    progress: Progress
    errors: tuple[str, ...]
    trials: int
    reason: str | None = None


def run_sweep(
    store: SweepStore,
    spec_text: str,
    plan: Plan,
    execution: Execution,
    session: RaySession,
    view: View,
    options: DriveOptions | None = None,
    *,
    lease: TakeLease = unleased,
    trainable: type | None = None,
) -> RunReport:
    """Complete the sweep `plan` in `store`; a finished one starts no trial.

    Args:
        store: the sweep's objects.
        spec_text: the spec as submitted.
        plan: what it trains.
        execution: how.
        session: the Ray to train on; it is closed in the end.
        view: shows progress.
        options: what else is asked of the driver.
        lease: takes the sweep's lease, unless a stop is asked for meanwhile; see `driver_lease`. Without it, nothing
            keeps a second driver off.
        trainable: the Tune trainable of a pack, `PackTrial` unless given.

    Raises:
        SpecError: a hook that `execution` asks for cannot be called from here.
        SweepConflictError: the store holds other runs under this name.
        LeaseHeldError: another driver is at work.
        LeaseLostError: another driver has taken over.
        StoreError: the store cannot be written.
        ClusterError: the cluster cannot train it.
        CalibrationError: a control did not grok.
    """
    hooks = open_hooks(execution)
    store.check_same(plan)  # the name may be another sweep's, whose lease is not touched then
    options = options or DriveOptions()
    with StopOnSignal() as stopped, lease(stopped=stopped.is_set) as held, _told_if_lost(held):
        store.create(spec_text, plan)
        return _Driver(store, plan, execution, session, view, options, hooks, stopped, held, trainable).drive()


@contextmanager
def _told_if_lost(lease: Lease | None) -> Iterator[None]:
    """Raise `LeaseLostError` where the lease was lost meanwhile, whatever else that made fail."""
    try:
        yield
    except GrokSweepsError:
        if lease is not None and lease.lost.is_set():
            lease.check()
        raise
    if lease is not None and lease.lost.is_set():
        lease.check()


class _Driver:
    """Drives one sweep from its first heartbeat to its last."""

    def __init__(
        self,
        store: SweepStore,
        plan: Plan,
        execution: Execution,
        session: RaySession,
        view: View,
        options: DriveOptions,
        hooks: Hooks,
        stopped: StopOnSignal,
        lease: Lease | None,
        trainable: type | None,
    ) -> None:
        self._store, self._plan, self._execution, self._session = store, plan, execution, session
        self._options, self._hooks, self._stopped = options, hooks, stopped
        self._lease, self._trainable = lease, trainable
        self._hours = DeviceHours(most=options.max_device_hours)
        self._journal = Journal(store, options.driver or driver_identity(), view.event)
        shown = hooks.watching(view)
        self._monitor = Monitor(store, plan, self._journal, shown, self._hours, stopped, options.extend_to, lease)
        self._ending = threading.Lock()
        self._trials = 0

    def drive(self) -> RunReport:
        """Train what is missing, and end in good order whatever happens."""
        n_again = delete_failed(self._store) if self._options.failed_again else 0
        self._monitor.start()
        self._hooks.begin(self._journal.say, self._monitor.log.rows, self._store.objects.uri, self._store.sweep)
        state, errors = "failed", list[str]()
        try:
            remaining = Remaining(self._store, self._plan, self._monitor.log, self._options.extend_to)
            self._say_what_is_again(remaining, n_again)
            self._delete_finished(remaining)
            self._session.on_loss(self._end_without_ray)
            compactor = Compactor(self._store, self._monitor.log, self._journal.say, self._lease)
            with compactor, closing(self._session):
                state, errors = self._train(remaining)
                if state == "finished":
                    compactor.compact()
        except (CalibrationError, ClusterError) as error:
            errors = [str(error)]
            self._journal.say(str(error))
            raise
        except BaseException as error:
            errors = [one_line(error)]
            state = "failed" if isinstance(error, Exception) else "interrupted"
            raise
        finally:
            with self._ending:
                progress = self._finish(state, errors)
        reason = self._stopped.reason if state == "interrupted" else None
        return RunReport(state, progress, tuple(errors), self._trials, reason)

    def _train(self, remaining: Remaining) -> tuple[str, list[str]]:
        """Train stage after stage; return how it ended, and why runs have no row."""
        runner = PackRunner(
            self._store,
            remaining,
            self._execution,
            self._session,
            self._stopped,
            self._hours,
            self._monitor,
            self._journal.say,
            commit=self._options.commit,
            fence=self._lease.fence if self._lease else None,
            trainable=self._trainable,
        )
        order, stage = StageOrder(self._store, self._plan, self._journal.say), 0
        while stage < self._plan.n_stages and not self._stopped.is_set():
            if stage:
                self._calibrate()
            self._trials += runner.run_stage(stage)
            self._monitor.catch_up()
            remaining.refresh()
            self._delete_finished(remaining)
            stage = order.after(stage, remaining.runs(), gave_up=bool(self._stopped.is_set() or runner.errors))
        blocked = remaining.blocked()
        errors = [*runner.errors, *_blocked_errors(blocked, remaining.rows), *order.errors]
        if not blocked and not remaining.runs():
            return "finished", errors
        return ("interrupted" if self._stopped.is_set() else "failed"), errors

    def _delete_finished(self, remaining: Remaining) -> None:
        """Delete checkpoints that nothing will go on from, unless another driver is at work by now.

        Raises:
            LeaseLostError: one is.
        """
        if self._lease is not None:
            self._lease.check()
        remaining.delete_finished()

    def _finish(self, state: str, errors: Sequence[str]) -> Progress:
        """Write the last heartbeat and have the hooks end."""
        reason = f"it got {self._stopped.signal}" if state == "interrupted" and self._stopped.signal else None
        reason = errors[0] if state == "failed" and errors else reason
        progress = self._monitor.finish(state, reason)
        if self._hooks.end(state, progress, errors, idle=state == "finished" and not self._trials):
            progress = self._monitor.finish(state, reason)  # with what they said
        return progress

    def _end_without_ray(self, reason: str) -> None:
        """Write what can be written and end the process: its main thread may wait for Ray for minutes.

        `_ending` is held to the end, so that nothing is said of what the main thread makes of it meanwhile.
        """
        if not self._ending.acquire(blocking=False):
            return
        try:
            with contextlib.suppress(Exception):  # the view may fail, and the status is to be written
                self._journal.say(f"{reason}; the driver ends, run the same command again to go on")
            progress = self._monitor.finish("interrupted", reason)
            self._hooks.end("interrupted", progress, [reason], idle=False)
            if sys.stdout.isatty():
                print(SHOW_CURSOR, end="", flush=True)
            print(f"error: sweep '{progress.sweep}' was stopped: {reason}.", file=sys.stderr, flush=True)
        finally:
            os._exit(STOPPED_FOR_A_REASON)

    def _say_what_is_again(self, remaining: Remaining, n_failed: int) -> None:
        """Say what is trained again from its first step, though it has been trained before."""
        if n_failed:
            self._journal.say(f"{n_failed} failed {runs_are(n_failed)} trained again")
        n_longer, n_anew = remaining.trained_longer()
        if n_anew:
            self._journal.say(
                f"{n_anew} of {n_longer} censored {runs_are(n_longer)} trained again from the first step: final states "
                "were not kept (execution.keep_states) or are lost"
            )

    def _calibrate(self) -> None:
        """Resolve the sweep's controls once; a resume uses what the first driver wrote."""
        if not self._plan.controls or self._store.load_calibration():
            return
        log = RowLog(self._store)  # whole rows, for a moment
        log.refresh()
        waiting = Counter(run.config.control_id for run in self._plan.runs)
        resolved = {c: resolve_control(c, ids, log.rows, waiting[c]) for c, ids in self._plan.controls.items()}
        for control in self._store.create_calibration(resolved).values():
            self._journal.say(
                f"control: w_c = {control['w_c']:.4f}, median of {control['n_grokked']} grokked runs of "
                f"{control['n_runs']}"
            )


def _blocked_errors(blocked: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why forks cannot start, one line a parent."""
    return [
        f"{n} forks of run {parent} cannot start, since it {rows[parent]['outcome']}: {rows[parent].get('error')}"
        for parent, n in Counter(blocked.values()).items()
    ]
