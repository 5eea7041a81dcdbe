"""The driver: do the runs of a plan that have no row yet, stage by stage, on Ray Tune.

Everything it needs to know is in the store, so it may be killed at any moment and started again anywhere. It asks the
store what is missing, packs that, and hands the packs to Tune by id; what becomes of a pack that fails is decided in
`pack_queue`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from grok_sweeps.calibration import resolve_control
from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.hooks import open_hooks
from grok_sweeps.cluster.monitor import Monitor, View
from grok_sweeps.cluster.pack_runner import PackRunner
from grok_sweeps.cluster.ray_session import RaySession
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.errors import CalibrationError, ClusterError, StoreError
from grok_sweeps.plan import Plan
from grok_sweeps.progress import Progress
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.checkpoints import delete_finished, kept_steps
from grok_sweeps.store.compact import compact
from grok_sweeps.store.rows import RowLog, delete_failed
from grok_sweeps.store.todo import Todo
from grok_sweeps.train.failed import one_line

RAY_DIED = 3
"""Exit code of a driver whose Ray has died: the sweep is interrupted, to be gone on with."""


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
            return Todo(plan, extend_to, kept_steps(store) if plan.parents else {})

        def left() -> frozenset[str]:
            monitor.log.refresh()
            return frozenset(run.run_id for run in todo().runs(monitor.log.rows))

        ending = threading.Lock()

        def ray_died(reason: str) -> None:
            with ending:  # held to the end: what the main thread makes of it meanwhile is not said
                stopped.ask(reason)
                monitor.event(f"{reason}; the driver ends, run the same command again to go on")
                monitor.finish("interrupted", reason)
                print(f"error: sweep '{store.sweep}' was stopped: {reason}.", file=sys.stderr, flush=True)
                os._exit(RAY_DIED)

        if n_again:
            monitor.event(f"{n_again} failed runs are trained again")
        errors: list[str] = []
        trials = 0
        state = "failed"
        try:
            _delete_finished(store, monitor)
            session.on_loss(ray_died)
            with closing(session):
                monitor.stop_with(stopped.ask)
                runner = PackRunner(store, plan, execution, session, monitor, stopped, hours, commit, trainable)
                for stage in range(plan.n_stages):
                    if stage:
                        _calibrate(store, plan, monitor)
                    trials += runner.run_stage(stage, todo().runs(monitor.log.rows, stage), left, extend_to)
                    monitor.log.refresh()
                    _delete_finished(store, monitor)
                    if stopped.is_set() or todo().runs(monitor.log.rows, stage):
                        break
                blocked = todo().blocked(monitor.log.rows)
                errors = [*monitor.sweep_errors, *runner.errors, *_blocked_errors(blocked, monitor.log.rows)]
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


def _blocked_errors(blocked: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why forks cannot start, one line a parent."""
    return [
        f"{n} forks of run {parent} cannot start, since it {rows[parent]['outcome']}: {rows[parent].get('error')}"
        for parent, n in Counter(blocked.values()).items()
    ]


def _delete_finished(store: SweepStore, monitor: Monitor) -> None:
    """Delete checkpoints that nothing will go on from: that of a failed run stays, it may be trained again."""
    rows = monitor.log.rows.items()
    delete_finished(store, {run_id: row["steps_run"] for run_id, row in rows if row["outcome"] != "failed"})


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
