"""What Tune tells the monitor, and how the driver asks Tune to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune import Callback

from cluster.monitor import Monitor


class _Unpickled:
    """Tune pickles callbacks and stoppers for a restore that this project never does; what they hold stays here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Progress(_Unpickled, Callback):
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._monitor.pack_started(trial.config["pack"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "store_error" in result:
            self._monitor.store_failed(result["store_error"])
        else:
            self._monitor.pack_reported(trial.config["pack"], result)
            for note in result["notes"]:
                self._monitor.event(note)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._monitor.event(f"pack {trial.config['pack']}: worker lost, starting again from its newest state")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._monitor.pack_ended(trial.config["pack"], failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._monitor.pack_ended(trial.config["pack"], failed=True)
        self._monitor.event(f"pack {trial.config['pack']}: gave up after repeated failures")


class _StopWhen(_Unpickled, tune.Stopper):
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._should_stop()


def progress_callback(monitor: Monitor) -> Callback:
    """A Tune callback that keeps `monitor` informed."""
    return _Progress(monitor)


def stopper(should_stop: Callable[[], bool]) -> tune.Stopper:
    """A Tune stopper that ends all trials once `should_stop` says so."""
    return _StopWhen(should_stop)
