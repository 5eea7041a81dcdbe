"""An orderly stop: a signal or a request asks for it, and training ends after the lanes' states are written."""

from __future__ import annotations

import signal
import time
from threading import Event
from typing import Any

STOPPED_FOR_A_REASON = 3
"""Exit code of a sweep that stopped in good order by itself, or was cancelled, to be gone on with."""
STATES_WAIT_S = 90.0
"""Longest wait of a driver that stops for the packs under way to write their states."""


AGAIN_S = 1.0
"""A second SIGINT within this time comes from the same hand: `timeout` sends its signal twice."""


class StopOnSignal:
    """SIGINT, SIGTERM or SIGHUP asks for an orderly stop.

    A second SIGINT, from a person who does not want to wait, acts as it would without us; the others are sent several
    times by those who send them. SIGHUP stays ignored where it is, as under nohup.
    """

    def __init__(self) -> None:
        self._asked = Event()
        self.reason: str | None = None
        """Why the sweep stops early, where more is known than that a signal came."""
        self.signal: str | None = None
        """The signal that came first, by its name."""
        self._previous: dict[signal.Signals, Any] = {}
        self._interrupted_at: float | None = None

    def __enter__(self) -> StopOnSignal:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            previous = signal.getsignal(number)
            if number != signal.SIGHUP or previous != signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    def ask(self, reason: str) -> None:
        """Ask for the stop, from any thread; the first reason stays."""
        if not self._asked.is_set():
            self.reason = reason
            self._asked.set()

    def _on_signal(self, signum: int, frame: Any) -> None:  # noqa: ARG002
        self.signal = self.signal or signal.Signals(signum).name
        self._asked.set()
        if signum != signal.SIGINT:
            return
        if self._interrupted_at is None:
            self._interrupted_at = time.monotonic()
        elif time.monotonic() - self._interrupted_at > AGAIN_S:
            signal.signal(signal.SIGINT, self._previous[signal.SIGINT])
            signal.raise_signal(signal.SIGINT)
