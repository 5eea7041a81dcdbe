"""The driver: do the runs of a plan that have no row yet, stage by stage, on Ray Tune.

Everything it needs to know is in the store, so it may be killed at any moment and started again anywhere. It asks the
store what is missing, packs that, and hands the packs to Tune by id; a trial that fails is tried again on a new worker.
"""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from cluster.monitor import Monitor, View
from cluster.resources import Resources
from cluster.settings import quiet_ray
from grok_sweeps.calibration import resolve_control
from grok_sweeps.errors import CalibrationError
from grok_sweeps.plan import Pack, Plan, make_packs
from grok_sweeps.progress import Progress
from grok_sweeps.provenance import git_sha
from grok_sweeps.spec import Execution
from grok_sweeps.store import SweepStore
from grok_sweeps.store.checkpoints import delete_finished
from grok_sweeps.store.sweep import missing_runs
from grok_sweeps.train.work import pack_content


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
    delete_finished(store, monitor.log.rows)
    errors: list[str] = []
    trials = 0
    state = "failed"
    try:
        with _StopOnSignal() as stopped, _Tune(store, execution, resources, monitor, stopped) as tune:
            for stage in range(plan.n_stages):
                if stage:
                    _calibrate(store, plan, monitor)
                trials += tune.run_stage(stage, _packs_to_do(plan, stage, monitor, resources))
                monitor.log.refresh()
                delete_finished(store, monitor.log.rows)
                if stopped.is_set() or any(r.stage == stage for r in missing_runs(plan, monitor.log.rows)):
                    break
            errors = [*monitor.store_errors, *tune.errors]
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


class _StopOnSignal:
    """The first SIGINT or SIGTERM asks for an orderly stop; the second acts as it would without us."""

    def __init__(self) -> None:
        self._asked = Event()
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _StopOnSignal:
        self._previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        self.listen()
        return self

    def __exit__(self, *exc: object) -> None:
        self._give_back()

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    def listen(self) -> None:
        """Take the signals; to be called again after `ray.init`, which takes SIGTERM for itself."""
        for number in self._previous:
            signal.signal(number, self._on_signal)

    def _on_signal(self, signum: int, frame: Any) -> None:  # noqa: ARG002
        self._asked.set()
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class _Tune:
    """A local Ray that starts with the first pack and ends with the context."""

    def __init__(
        self, store: SweepStore, execution: Execution, resources: Resources, monitor: Monitor, stopped: _StopOnSignal
    ) -> None:
        self._store, self._execution, self._resources = store, execution, resources
        self._monitor, self._stopped = monitor, stopped
        self._scratch: str | None = None
        self.errors: list[str] = []

    def __enter__(self) -> _Tune:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._scratch is not None:
            import ray

            ray.shutdown()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def run_stage(self, stage: int, packs: Sequence[Pack]) -> int:
        """Train `packs`, return how many trials were started."""
        if not packs or self._stopped.is_set():
            return 0
        for pack in packs:
            content = pack_content(
                pack.runs,
                lanes=self._resources.lanes,
                device=self._resources.device,
                checkpoint_every_s=self._execution.checkpoint_every_s,
                git_sha=git_sha(),
            )
            self._store.put_pack(pack.pack_id, content)
        n_runs = sum(len(pack.runs) for pack in packs)
        self._monitor.packs_planned(len(packs))
        self._monitor.event(
            f"stage {stage}: {n_runs} runs in {len(packs)} packs on {self._resources.workers} "
            f"{self._resources.device} workers"
        )
        self._start_ray()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.")  # its own deprecations
            results = self._tuner([pack.pack_id for pack in packs]).fit()
        self.errors += [_first_line(result.error) for result in results if result.error]
        return len(packs)

    def _start_ray(self) -> None:
        if self._scratch is not None:
            return
        quiet_ray()
        import ray

        self._scratch = tempfile.mkdtemp(prefix="grok-sweeps-")
        gpus = self._resources.workers if self._resources.device == "cuda" else 0
        ray.init(
            address="local",
            num_cpus=self._resources.workers,
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 << 20,
        )
        self._stopped.listen()

    def _tuner(self, pack_ids: Sequence[str]) -> Any:
        from ray import tune

        from cluster.trial import PackTrial
        from cluster.tune_callback import progress_callback, stopper

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is told in one line
        return tune.Tuner(
            PackTrial,
            param_space={
                "store": self._store.objects.uri,
                "sweep": self._store.sweep,
                "bundle": self._resources.bundle,
                "pack": tune.grid_search(list(pack_ids)),
            },
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=self._resources.workers),
            run_config=tune.RunConfig(
                storage_path=self._scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=self._execution.max_failures),
                callbacks=[progress_callback(self._monitor)],
                stop=stopper(lambda: self._stopped.is_set() or bool(self._monitor.store_errors)),
            ),
        )


def _first_line(error: BaseException) -> str:
    """The message of the exception at the root of Ray's wrapping."""
    text = str(error).strip().splitlines()
    for line in reversed(text):
        if "Error: " in line:
            return line.split("Error: ", 1)[1]
    return text[-1] if text else repr(error)
