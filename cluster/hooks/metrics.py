"""Serves a sweep's progress to Prometheus, over HTTP from the driver.

It listens on loopback unless an address is given: the driver does not know who else is on its network. A port that is
taken, by a driver that is about to end for one, is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from grok_sweeps.cluster.hooks.hook import Ending, Tell
from grok_sweeps.progress import Progress
from grok_sweeps.schema import OUTCOMES

LOOPBACK = "127.0.0.1"
PREFIX = "grok_sweeps"


class Metrics:
    """Listens at `address`, PORT or HOST:PORT."""

    def __init__(self, address: str, tell: Tell) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port, self._tell = host.strip("[]") or LOOPBACK, int(port), tell
        self._progress: Progress | None = None
        self._heard_at = 0.0
        self._run_steps = 0
        self._server: Any = None
        self._thread: Any = None

    def progress(self, progress: Progress) -> None:
        """Keep what is shown to who asks next."""
        self._progress, self._heard_at = progress, time.time()
        # A counter never falls, or Prometheus takes it for a restart; steps do, by those that a lost worker had done.
        self._run_steps = max(self._run_steps, progress.run_steps_done)
        if self._server is None:
            self._listen()

    def ended(self, ending: Ending) -> None:  # noqa: ARG002
        """Close."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def abandon(self) -> None:
        """Nothing: there is nothing to wait for."""

    def collect(self) -> Iterator[Any]:
        """The metrics as they are now; called by prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        progress = self._progress
        if progress is None:
            return
        spent = progress.spent
        gauges: dict[str, tuple[str, float | None]] = {
            "runs_planned": ("Runs of the sweep.", progress.runs),
            "run_steps_expected": (
                "Run-steps of the whole sweep, as they are now foreseen.",
                progress.run_steps_expected,
            ),
            "steps_per_second": ("Run-steps a second.", progress.steps_per_s),
            "seconds_left": ("Expected time left.", progress.eta_s),
            "lanes_active": ("Lanes that train a run.", progress.lanes_active),
            "device_hours": ("GPU-hours that packs have held, or core-hours.", spent.hours if spent else None),
            "heartbeat_timestamp_seconds": ("When the driver last looked at the sweep.", self._heard_at),
        }
        for name, (meaning, value) in gauges.items():
            if value is not None:
                gauge = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=["sweep"])
                gauge.add_metric([progress.sweep], value)
                yield gauge
        for name, label, values in (
            ("runs", "outcome", {outcome: progress.outcomes.get(outcome, 0) for outcome in OUTCOMES}),
            ("packs", "state", progress.packs),
        ):
            gauge = GaugeMetricFamily(f"{PREFIX}_{name}", f"{name.capitalize()} by {label}.", labels=["sweep", label])
            for key, value in values.items():
                gauge.add_metric([progress.sweep, key], value)
            yield gauge
        for name, meaning, value in (
            ("run_steps", "Run-steps done.", self._run_steps),
            ("worker_losses", "Times that a pack lost its worker.", progress.worker_losses),
        ):
            counter = CounterMetricFamily(f"{PREFIX}_{name}", meaning, labels=["sweep"])
            counter.add_metric([progress.sweep], value)
            yield counter

    def _listen(self) -> None:
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(self._port, self._host, registry)
        except OSError as error:
            raise OSError(f"port {self._port} of {self._host}: {error.strerror or error}") from None
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._tell(f"metrics: http://{host}:{self._port}/metrics")
