"""POSTs JSON to a URL when a sweep ends, and when its first run fails. Slack shows its `text`."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, build_opener

from grok_sweeps.cluster.hooks.hook import Begin, Ending
from grok_sweeps.cluster.no_redirect import NoRedirect
from grok_sweeps.progress import Progress

TRIES = 3
TIMEOUT_S = 5.0
BACKOFF_S = (1.0, 2.0)
FEWEST_RETRIED = 500
TOO_MANY = 429
EVENTS = {"finished": "done", "failed": "failed", "interrupted": "interrupted"}


class Webhook:
    """Calls `url`; a finished sweep that is run again has nothing to tell."""

    def __init__(self, url: str, begin: Begin, wait: Callable[[float], bool] | None = None) -> None:
        self._url, self._headers = _request_parts(url)
        self._begin = begin
        self._began = time.monotonic()
        self._abandoned = threading.Event()
        self._wait = wait or self._abandoned.wait
        self._told_of_failure = False

    def progress(self, progress: Progress) -> None:
        """Tell of the first run that fails."""
        if not self._told_of_failure and progress.outcomes.get("failed", 0) > self._begin.failed_before:
            self._told_of_failure = True
            self._post(
                "run_failed", progress.state, progress, [progress.first_error or ""], time.monotonic() - self._began
            )

    def ended(self, ending: Ending) -> None:
        """Tell how the sweep ended."""
        if ending.idle:
            return
        try:
            self.progress(ending.progress)
        finally:
            errors = list(ending.errors) or [e for e in (ending.progress.first_error,) if e]
            self._post(EVENTS[ending.state], ending.state, ending.progress, errors, ending.seconds)

    def abandon(self) -> None:
        """Wait for no further try."""
        self._abandoned.set()

    def _post(self, event: str, state: str, progress: Progress, errors: list[str], seconds: float) -> None:
        body = json.dumps(payload(event, state, self._begin, progress, errors, seconds)).encode()
        for attempt in range(TRIES):
            try:
                request = Request(self._url, body, self._headers)  # noqa: S310 checked by the spec
                with build_opener(NoRedirect).open(request, timeout=TIMEOUT_S):
                    return
            except OSError as error:
                if isinstance(error, HTTPError):
                    error.close()
                refused = isinstance(error, HTTPError) and error.code < FEWEST_RETRIED and error.code != TOO_MANY
                if refused or attempt + 1 == TRIES or self._wait(BACKOFF_S[attempt]):
                    raise


def _request_parts(url: str) -> tuple[str, dict[str, str]]:
    """A URL without user and password, and the headers, which carry them (RFC 7617)."""
    headers = {"Content-Type": "application/json"}
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    if user:
        headers["Authorization"] = f"Basic {b64encode(unquote(user).encode()).decode()}"
    return urlunsplit(parts._replace(netloc=place)), headers


def payload(
    event: str, state: str, begin: Begin, progress: Progress, errors: list[str], seconds: float
) -> dict[str, Any]:
    """What is POSTed."""
    outcomes = ", ".join(f"{n:,} {name}" for name, n in progress.outcomes.items()) or "no outcome yet"
    said = {"run_failed": "a run failed", "done": "done"}.get(event, event)
    text = f"grok-sweeps {begin.sweep}: {said}, {progress.finished:,} of {progress.runs:,} runs ({outcomes})"
    return {
        "event": event,
        "sweep": begin.sweep,
        "store": begin.store,
        "state": state,
        "runs": progress.runs,
        "outcomes": dict(progress.outcomes),
        "errors": errors,
        "seconds": round(seconds, 3),
        "text": f"{text}: {errors[0]}" if errors else text,
    }
