"""The driver: do the runs of a plan that have no row yet, stage by stage, on Ray Tune.

Everything it needs to know is in the store, so it may be killed at any moment and started again anywhere. It asks the
store what is missing, packs that, and hands the packs to Tune by id; a trial that fails is tried again on a new worker.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.local_ray import LocalRay
from cluster.monitor import Monitor, View
from cluster.resources import Resources
from cluster.stopping import StopOnSignal
from grok_sweeps.calibration import resolve_control
from grok_sweeps.errors import CalibrationError
from grok_sweeps.plan import Pack, Plan, make_packs
from grok_sweeps.progress import Progress
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.checkpoints import delete_finished
from grok_sweeps.store.sweep import missing_runs


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a sweep ended: `state` is finished, interrupted or failed, with the errors of packs that gave up."""

    state: str
    progress: Progress
    errors: tuple[str, ...]
    trials: int


def run_sweep(
    store: SweepStore, spec_text: str, plan: Plan, execution: Execution, resources: Resources, view: View
) -> RunReport:
    """Complete the sweep `plan` in `store`; a finished one starts no trial.

    Raises:
        SweepConflictError: the store holds other runs under this name.
        StoreError: the store cannot be written.
        CalibrationError: a control did not grok.
    """
    store.create(spec_text, plan)
    monitor = Monitor(store, plan, view)
    monitor.start()
    errors: list[str] = []
    trials = 0
    state = "failed"
    try:
        delete_finished(store, monitor.log.rows)
        with StopOnSignal() as stopped, LocalRay(store, execution, resources, monitor, stopped) as ray:
            for stage in range(plan.n_stages):
                if stage:
                    _calibrate(store, plan, monitor)
                trials += ray.run_stage(stage, _packs_to_do(plan, stage, monitor, resources))
                monitor.log.refresh()
                delete_finished(store, monitor.log.rows)
                if stopped.is_set() or any(r.stage == stage for r in missing_runs(plan, monitor.log.rows)):
                    break
            errors = [*monitor.store_errors, *ray.errors]
            unfinished = bool(missing_runs(plan, monitor.log.rows))
            state = "interrupted" if stopped.is_set() and unfinished else "failed" if unfinished else "finished"
    except CalibrationError as error:
        monitor.event(str(error))
        raise
    finally:
        progress = monitor.finish(state)
    return RunReport(state, progress, tuple(errors), trials)


def _packs_to_do(plan: Plan, stage: int, monitor: Monitor, resources: Resources) -> list[Pack]:
    missing = [r for r in missing_runs(plan, monitor.log.rows) if r.stage == stage]
    return make_packs(missing, workers=resources.workers, lanes=resources.lanes, pack_runs=resources.pack_runs)


def _calibrate(store: SweepStore, plan: Plan, monitor: Monitor) -> None:
    """Resolve the sweep's controls once; a resume uses what the first driver wrote."""
    if not plan.controls or store.load_calibration():
        return
    resolved = {c: resolve_control(c, ids, monitor.log.rows) for c, ids in plan.controls.items()}
    for control in store.create_calibration(resolved).values():
        monitor.event(
            f"control: w_c = {control['w_c']:.4f}, median of {control['n_grokked']} grokked runs of {control['n_runs']}"
        )
