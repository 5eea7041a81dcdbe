"""An orderly stop: a signal or a request asks for it, and training ends after the lanes' states are written."""

from __future__ import annotations

import signal
from threading import Event
from typing import Any

STATES_WAIT_S = 90.0
"""Longest wait of a driver that stops for the packs under way to write their states."""


class StopOnSignal:
    """The first SIGINT or SIGTERM asks for an orderly stop; the second acts as it would without us."""

    def __init__(self) -> None:
        self._asked = Event()
        self.reason: str | None = None
        """Why the sweep stops early, where more is known than that a signal came."""
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopOnSignal:
        self._previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        self.listen()
        return self

    def __exit__(self, *exc: object) -> None:
        self._give_back()

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    def ask(self, reason: str) -> None:
        """Ask for the stop, from any thread; the first reason stays."""
        if not self._asked.is_set():
            self.reason = reason
            self._asked.set()

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
