"""A thread that calls one hook, so that a tool that is slow or does not answer keeps nobody waiting.

What it is told replaces what it was told before and did not come to: a hook's queue is never longer than one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from grok_sweeps.cluster.hooks.hook import MOST_CHARACTERS, Ending, Hook, Tell
from grok_sweeps.cluster.hooks.redact import redacted
from grok_sweeps.progress import Progress
from grok_sweeps.train.failed import one_line


class HookThread:
    """Opens a hook and calls it. Events name it `name`, without its address, `target`."""

    def __init__(self, name: str, open_hook: Callable[[], Hook], target: str, tell: Tell) -> None:
        self.name, self._open, self._target, self._tell = name, open_hook, target, tell
        self._hook: Hook | None = None
        self._news = threading.Condition()
        self._progress: Progress | None = None
        self._ending: Ending | None = None
        self._is_left = False
        self._thread = threading.Thread(target=self._loop, name=f"hook {name}", daemon=True)
        self._thread.start()

    def progress(self, progress: Progress) -> None:
        """Pass on how the sweep stands."""
        with self._news:
            self._progress = progress
            self._news.notify()

    def ended(self, ending: Ending) -> None:
        """Pass on how it ended."""
        with self._news:
            self._ending = ending
            self._news.notify()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the hook has heard of the end; return whether it has. If not it is left alone."""
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return True
        self._is_left = True
        if self._hook is not None:
            self._hook.abandon()
        return False

    def tell(self, text: str) -> None:
        """Say something of this hook, on one line and without its address."""
        self._tell(f"{self.name}: {redacted(text, self._target)[:MOST_CHARACTERS]}")

    def _loop(self) -> None:
        progress: Progress | None = None
        ending: Ending | None = None
        has_failed = False
        while True:
            try:
                self._hook = hook = self._hook or self._open()
                if ending is not None:
                    hook.ended(ending)
                elif progress is not None:
                    hook.progress(progress)
            except Exception as error:  # a tool that fails costs the sweep nothing
                if not self._is_left and (not has_failed or ending is not None):
                    plain = one_line(error.with_traceback(None))  # where we called the tool says nothing of it
                    self.tell(f"{plain}; the sweep does without")
                has_failed = True
            if ending is not None:
                return
            progress, ending = self._next()

    def _next(self) -> tuple[Progress | None, Ending | None]:
        with self._news:
            self._news.wait_for(lambda: self._progress is not None or self._ending is not None)
            progress, self._progress = self._progress, None
            return progress, self._ending
