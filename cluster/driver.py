"""The driver: do the runs of a plan that have no row yet, stage by stage, on Ray Tune.

Everything it needs to know is in the store, so it may be killed at any moment and started again anywhere. It asks the
store what is missing, packs that, and hands the packs to Tune by id; what becomes of a pack that fails is decided in
`pack_queue`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from grok_sweeps.calibration import resolve_control
from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.hooks import Hooks, open_hooks
from grok_sweeps.cluster.monitor import Monitor, View
from grok_sweeps.cluster.pack_runner import PackRunner
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.stopping import STOPPED_FOR_A_REASON, StopOnSignal
from grok_sweeps.errors import CalibrationError, ClusterError, StoreError
from grok_sweeps.plan import Pack, Plan, PlannedRun
from grok_sweeps.progress import Progress
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.compact import compact
from grok_sweeps.store.rows import RowLog, delete_failed
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.todo import Todo
from grok_sweeps.train.failed import one_line
from grok_sweeps.train.work import RunWork, planned_work, with_states

SHOW_CURSOR = "\x1b[?25h"
MOST_TIMES_AGAIN = 3
"""How often one driver has a fork's parent trained again whose state is lost."""


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


def run_sweep(  # noqa: PLR0915
    store: SweepStore,
    spec_text: str,
    plan: Plan,
    execution: Execution,
    session: RaySession,
    view: View,
    extend_to: int | None = None,
    *,
    failed_again: bool = False,
    max_device_hours: float | None = None,
    submission_id: str | None = None,
    commit: str | None = None,
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
        extend_to: a longer budget for censored runs, which go on from their final states.
        failed_again: delete the rows of failed runs first, so that they are trained again.
        max_device_hours: the budget of `grok_sweeps.cluster.device_hours`, over all drivers of the sweep.
        submission_id: the Ray job that this process is, if it is one.
        commit: that of the code.
        trainable: the Tune trainable of a pack, `PackTrial` unless given.

    Raises:
        SpecError: a hook that `execution` asks for cannot be called from here.
        SweepConflictError: the store holds other runs under this name.
        StoreError: the store cannot be written.
        ClusterError: the cluster cannot train it.
        CalibrationError: a control did not grok.
    """
    hooks = open_hooks(execution)
    stopped, hours = StopOnSignal(), DeviceHours(most=max_device_hours)
    with stopped:
        store.create(spec_text, plan)
        n_again = delete_failed(store) if failed_again else 0
        monitor = Monitor(store, plan, hooks.watching(view), extend_to, hours, submission_id=submission_id)
        monitor.start()
        hooks.begin(monitor, store.objects.uri, store.sweep)

        def todo() -> Todo:
            return Todo(plan, extend_to, index.kept if plan.parents else {})

        def left(pack: Pack) -> frozenset[str]:
            monitor.log.refresh()
            index.refresh_pack(pack.pack_id, [run for run in pack.runs if run.run_id in plan.fork_parents])
            return frozenset(run.run_id for run in todo().left_of(pack.runs, monitor.log.rows))

        def work_of(pack: Pack) -> list[RunWork]:
            runs = [planned_work(run, plan, extend_to) for run in pack.runs]
            return with_states(runs, monitor.log.rows, index)

        ending = threading.Lock()

        errors: list[str] = []
        trials = 0
        state = "failed"
        try:
            index = StateIndex(store)
            _say_what_is_again(index, monitor, n_again, todo().runs(monitor.log.rows))
            _delete_finished(index, monitor, todo().runs(monitor.log.rows))
            session.on_loss(partial(_end_without_ray, monitor, hooks, ending))
            with closing(session):
                monitor.stop_with(stopped.ask)
                runner = PackRunner(store, plan, execution, session, monitor, stopped, hours, commit, trainable)
                order, stage = _StageOrder(store, plan, monitor), 0
                while stage < plan.n_stages and not stopped.is_set():
                    if stage:
                        _calibrate(store, plan, monitor)
                    trials += runner.run_stage(stage, todo().runs(monitor.log.rows, stage), left, work_of)
                    monitor.log.refresh()
                    index.refresh()
                    _delete_finished(index, monitor, todo().runs(monitor.log.rows))
                    gave_up = bool(stopped.is_set() or runner.errors or monitor.sweep_errors)
                    stage = order.after(stage, todo().runs(monitor.log.rows), gave_up=gave_up)
                blocked = todo().blocked(monitor.log.rows)
                errors = [*monitor.sweep_errors, *runner.errors, *_blocked_errors(blocked, monitor.log.rows)]
                errors += order.errors
                unfinished = bool(blocked or todo().runs(monitor.log.rows))
                state = "interrupted" if stopped.is_set() and unfinished else "failed" if unfinished else "finished"
                if state == "finished":
                    _compact(store, monitor)
        except (CalibrationError, ClusterError) as error:
            errors = [str(error)]
            monitor.event(str(error))
            raise
        except BaseException as error:
            errors = [one_line(error)]
            state = "failed" if isinstance(error, Exception) else "interrupted"
            raise
        finally:
            with ending:
                reason = f"it got {stopped.signal}" if state == "interrupted" and stopped.signal else None
                reason = errors[0] if state == "failed" and errors else reason
                progress = monitor.finish(state, reason)
                if hooks.end(state, progress, errors, idle=state == "finished" and not trials):
                    progress = monitor.finish(state, reason)  # with what they said
    return RunReport(state, progress, tuple(errors), trials, stopped.reason if state == "interrupted" else None)


def _end_without_ray(monitor: Monitor, hooks: Hooks, ending: threading.Lock, reason: str) -> None:
    """Write what can be written and end the process: its main thread may wait for Ray for minutes.

    `ending` is held to the end, so that nothing is said of what the main thread makes of it meanwhile.
    """
    if not ending.acquire(blocking=False):
        return
    try:
        with contextlib.suppress(Exception):  # the view may fail, and the status is to be written
            monitor.event(f"{reason}; the driver ends, run the same command again to go on")
        progress = monitor.finish("interrupted", reason)
        hooks.end("interrupted", progress, [reason], idle=False)
        if sys.stdout.isatty():
            print(SHOW_CURSOR, end="", flush=True)
        print(f"error: sweep '{progress.sweep}' was stopped: {reason}.", file=sys.stderr, flush=True)
    finally:
        os._exit(STOPPED_FOR_A_REASON)


def _say_what_is_again(index: StateIndex, monitor: Monitor, n_failed: int, todo: Sequence[PlannedRun]) -> None:
    """Say what is trained again from its first step, though it has been trained before."""
    if n_failed:
        monitor.event(f"{n_failed} failed {_runs_are(n_failed)} trained again")
    rows = monitor.log.rows
    longer = [run.run_id for run in todo if run.run_id in rows and rows[run.run_id]["outcome"] == "censored"]
    if not longer:
        return
    if anew := sum(not index.candidates(run_id) for run_id in longer):
        monitor.event(
            f"{anew} of {len(longer)} censored {_runs_are(len(longer))} trained again from the first step: final "
            "states were not kept (execution.keep_states) or are lost"
        )


def _runs_are(n: int) -> str:
    return "run is" if n == 1 else "runs are"


class _StageOrder:
    """One stage after the other, and back to an earlier one for parents whose state, from which forks start, is lost.

    `errors` say which states are lost however often they are made, one line each.
    """

    def __init__(self, store: SweepStore, plan: Plan, monitor: Monitor) -> None:
        self._store, self._plan, self._monitor = store, plan, monitor
        self._times: Counter[str] = Counter()
        self.errors: list[str] = []

    def after(self, stage: int, todo: Sequence[PlannedRun], *, gave_up: bool) -> int:
        """The stage to train after this one, given what is to do by now; past the last where none can be trained."""
        lost = [run for run in todo if run.stage < stage]
        if lost and not gave_up and self._train_again(lost):
            return min(run.stage for run in lost)
        return self._plan.n_stages if any(run.stage == stage for run in todo) else stage + 1

    def _train_again(self, parents: Sequence[PlannedRun]) -> bool:
        """Whether these runs of earlier stages, which have their rows, are to be trained again."""
        self._times.update(run.run_id for run in parents)
        for run in parents:
            if self._times[run.run_id] > MOST_TIMES_AGAIN:
                name = self._store.layout.state(run.run_id, run.config.max_steps)
                self.errors.append(
                    f"{name}: still damaged or missing after {MOST_TIMES_AGAIN} attempts, and forks start "
                    "from it; see what deletes or damages the store's files."
                )
        if not self.errors:
            again = f"{len(parents)} {_runs_are(len(parents))} trained again"
            self._monitor.event(f"{again}: states that forks start from are lost")
        return not self.errors


def _blocked_errors(blocked: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why forks cannot start, one line a parent."""
    return [
        f"{n} forks of run {parent} cannot start, since it {rows[parent]['outcome']}: {rows[parent].get('error')}"
        for parent, n in Counter(blocked.values()).items()
    ]


def _delete_finished(index: StateIndex, monitor: Monitor, todo: Sequence[PlannedRun]) -> None:
    """Delete checkpoints that nothing will go on from.

    That of a failed run stays, since it may be trained again, and that of a run which is trained again now.
    """
    again = {run.run_id for run in todo}
    rows = monitor.log.rows.items()
    finished = {i: row["steps_run"] for i, row in rows if row["outcome"] != "failed" and i not in again}
    index.delete_finished(finished)


def _compact(store: SweepStore, monitor: Monitor) -> None:
    """Put few files in the place of many; where it fails the many do as well."""
    try:
        done = compact(store)
    except (StoreError, pa.ArrowException) as error:
        monitor.event(f"not compacted: {' '.join(str(error).split())}")
        return
    if done.files_before:
        monitor.event(f"{done.files_before} files of rows and curves compacted into {done.files_after}")


def _calibrate(store: SweepStore, plan: Plan, monitor: Monitor) -> None:
    """Resolve the sweep's controls once; a resume uses what the first driver wrote."""
    if not plan.controls or store.load_calibration():
        return
    log = RowLog(store)  # whole rows, for a moment
    log.refresh()
    waiting = Counter(run.config.control_id for run in plan.runs)
    resolved = {c: resolve_control(c, ids, log.rows, waiting[c]) for c, ids in plan.controls.items()}
    for control in store.create_calibration(resolved).values():
        monitor.event(
            f"control: w_c = {control['w_c']:.4f}, median of {control['n_grokked']} grokked runs of {control['n_runs']}"
        )
