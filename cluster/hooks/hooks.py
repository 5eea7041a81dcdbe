"""The hooks that a spec asks for, and what the driver tells them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

from grok_sweeps.cluster.hooks.hook import Begin, Ending, Hook, Tell
from grok_sweeps.cluster.hooks.hook_thread import HookThread
from grok_sweeps.cluster.hooks.metrics import Metrics
from grok_sweeps.cluster.hooks.tracker_process import TrackerProcess
from grok_sweeps.cluster.hooks.webhook import Webhook
from grok_sweeps.cluster.monitor import View
from grok_sweeps.cluster.settings import environment_value
from grok_sweeps.errors import SpecError
from grok_sweeps.progress import Progress
from grok_sweeps.spec import Execution
from grok_sweeps.spec.tools import check_tool, variable_of

KEYS = ("webhook", "metrics_port", "mlflow", "wandb")
PACKAGES = {"mlflow": "mlflow", "wandb": "wandb"}
FLUSH_S = 30.0
"""Longest wait for the hooks at the end, all together."""
LOST = "it may not have heard of the end"
LATER = "a resume logs the rest"
AGAIN = {"webhook": LOST, "metrics_port": LOST, "mlflow": LATER, "wandb": LATER}


class Hooks:
    """The hooks of one driver: `targets` is where each tool is, by the key of `execution`."""

    def __init__(self, targets: dict[str, str]) -> None:
        self._targets = targets
        self._threads: list[HookThread] = []
        self._began = time.monotonic()
        self._n_told = 0

    def watching(self, view: View) -> View:
        """A view that shows what `view` does and passes it on to the hooks."""
        return _Watching(view, self)

    def begin(self, say: Callable[[str], None], rows: Mapping[str, Mapping[str, Any]], store: str, sweep: str) -> None:
        """Start the hooks for a sweep that has `rows` by now; `say` tells the user what they have to say."""

        def tell(text: str) -> None:
            self._n_told += 1
            with suppress(Exception):  # the view's
                say(text)

        failed_before = sum(row["outcome"] == "failed" for row in rows.values())
        begin = Begin(sweep, store, failed_before)
        self._threads = [
            HookThread(name, partial(_open, name, target, begin, tell), target, tell)
            for name, target in self._targets.items()
        ]

    def progress(self, progress: Progress) -> None:
        """Pass on how the sweep stands. Takes no time."""
        for thread in self._threads:
            thread.progress(progress)

    def end(self, state: str, progress: Progress, errors: Sequence[str], *, idle: bool) -> bool:
        """Pass on how the driver ended, and wait for the hooks, `FLUSH_S` at most; return whether they said something.

        `idle` is that there was nothing to do.
        """
        before = self._n_told
        ending = Ending(state, progress, tuple(errors), time.monotonic() - self._began, idle)
        for thread in self._threads:
            thread.ended(ending)
        until = time.monotonic() + FLUSH_S
        for thread in self._threads:
            if not thread.wait(max(0.0, until - time.monotonic())):
                thread.tell(f"not done {FLUSH_S:g} s after the sweep's end, and left alone; {AGAIN[thread.name]}")
        return self._n_told > before


def open_hooks(execution: Execution) -> Hooks:
    """The hooks that a spec asks for, before anything is done.

    Raises:
        SpecError: a package is missing, or an environment variable that a key names.
    """
    targets: dict[str, str] = {}
    for key in KEYS:
        value = getattr(execution, key)
        if value is None:
            continue
        variable = variable_of(value)
        if variable is not None:
            value = environment_value(variable)
            if value is None:
                raise SpecError(
                    f"execution.{key}: the environment variable {variable} is not set where the driver runs; set it, "
                    f"or do without: --set execution.{key}=null."
                )
            check_tool(key, value, variable)
        package = PACKAGES.get(key)
        if package and find_spec(package) is None:
            raise SpecError(
                f"execution.{key}: the package {package} is not installed; pip install 'grok-sweeps[{key}]'."
            )
        targets[key] = str(value)
    return Hooks(targets)


class _Watching:
    """Shows progress to a person and passes it on to the hooks."""

    def __init__(self, view: View, hooks: Hooks) -> None:
        self._view, self._hooks = view, hooks

    def update(self, progress: Progress) -> None:
        self._hooks.progress(progress)
        self._view.update(progress)

    def event(self, text: str) -> None:
        self._view.event(text)


def _open(key: str, target: str, begin: Begin, tell: Tell) -> Hook:
    if key == "webhook":
        return Webhook(target, begin)
    if key == "metrics_port":
        return Metrics(target, tell)
    return TrackerProcess(key, target, begin, tell)
