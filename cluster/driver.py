"""The driver: do the runs of a plan that have no row yet, stage by stage, on Ray Tune.

Everything it needs to know is in the store, so it may be killed at any moment and started again anywhere. It asks the
store what is missing, packs that, and hands the packs to Tune by id; a trial that fails is tried again on a new worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.local_ray import LocalRay
from cluster.monitor import Monitor, View
from cluster.resources import Resources
from cluster.stopping import StopOnSignal
from grok_sweeps.calibration import resolve_control
from grok_sweeps.errors import CalibrationError
from grok_sweeps.plan import Pack, Plan, PlannedRun, make_packs
from grok_sweeps.progress import Progress
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.checkpoints import delete_finished, kept_steps
from grok_sweeps.store.rows import RowLog
from grok_sweeps.store.todo import Todo


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a sweep ended: `state` is finished, interrupted or failed, with the errors of packs that gave up."""

    state: str
    progress: Progress
    errors: tuple[str, ...]
    trials: int


def run_sweep(
    store: SweepStore,
    spec_text: str,
    plan: Plan,
    execution: Execution,
    resources: Resources,
    view: View,
    extend_to: int | None = None,
    trainable: type | None = None,
) -> RunReport:
    """Complete the sweep `plan` in `store`; a finished one starts no trial.

    `extend_to` is a longer budget for its censored runs, which go on from their final states. `trainable` is the Tune
    trainable of a pack, `PackTrial` unless given.

    Raises:
        SweepConflictError: the store holds other runs under this name.
        StoreError: the store cannot be written.
        CalibrationError: a control did not grok.
    """
    store.create(spec_text, plan)
    monitor = Monitor(store, plan, view, extend_to)
    monitor.start()
    errors: list[str] = []
    trials = 0
    state = "failed"
    try:
        _delete_finished(store, monitor)
        with StopOnSignal() as stopped, LocalRay(store, plan, execution, resources, monitor, stopped, trainable) as ray:
            for stage in range(plan.n_stages):
                if stage:
                    _calibrate(store, plan, monitor)
                runs = _todo(store, plan, extend_to).runs(monitor.log.rows, stage)
                trials += ray.run_stage(stage, stage_packs(runs, resources), extend_to)
                monitor.log.refresh()
                _delete_finished(store, monitor)
                if stopped.is_set() or _todo(store, plan, extend_to).runs(monitor.log.rows, stage):
                    break
            errors = [*monitor.store_errors, *ray.errors]
            unfinished = bool(_todo(store, plan, extend_to).runs(monitor.log.rows))
            state = "interrupted" if stopped.is_set() and unfinished else "failed" if unfinished else "finished"
    except CalibrationError as error:
        monitor.event(str(error))
        raise
    finally:
        progress = monitor.finish(state)
    return RunReport(state, progress, tuple(errors), trials)


def _todo(store: SweepStore, plan: Plan, extend_to: int | None) -> Todo:
    return Todo(plan, extend_to, kept_steps(store) if plan.parents else {})


def stage_packs(runs: Sequence[PlannedRun], resources: Resources) -> list[Pack]:
    """The packs of runs that can start together."""
    return make_packs(runs, workers=resources.workers, lanes=resources.lanes_of, pack_runs=resources.pack_runs)


def _delete_finished(store: SweepStore, monitor: Monitor) -> None:
    delete_finished(store, {run_id: row["steps_run"] for run_id, row in monitor.log.rows.items()})


def _calibrate(store: SweepStore, plan: Plan, monitor: Monitor) -> None:
    """Resolve the sweep's controls once; a resume uses what the first driver wrote."""
    if not plan.controls or store.load_calibration():
        return
    log = RowLog(store)  # whole rows, for a moment
    log.refresh()
    resolved = {c: resolve_control(c, ids, log.rows) for c, ids in plan.controls.items()}
    for control in store.create_calibration(resolved).values():
        monitor.event(
            f"control: w_c = {control['w_c']:.4f}, median of {control['n_grokked']} grokked runs of {control['n_runs']}"
        )
