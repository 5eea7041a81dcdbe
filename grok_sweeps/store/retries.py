"""Wait out a passing fault: exponential backoff with jitter, and a bound. What counts as passing is the caller's."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retries:
    """How long, in seconds, a passing fault is waited out.

    The wait after failure k = 0, 1, … is between half and all of `first_wait_s` · 2^k, at most `longest_wait_s`: many
    workers must not come back at once. No attempt begins later than `give_up_after_s` after the first one.
    """

    give_up_after_s: float = 120.0
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def call(
        self,
        attempt: Callable[[int], T],
        is_passing: Callable[[Exception], bool],
        on_wait: Callable[[Exception, float], None] = lambda _error, _elapsed_s: None,
    ) -> T:
        """Call `attempt(k)` until it succeeds, and return what it returns.

        Args:
            attempt: does the work; k counts from 0.
            is_passing: whether another attempt can help.
            on_wait: told of each failure that is waited out, and of the seconds since the first attempt.

        Raises:
            Exception: the last attempt's, where it does not pass or the time is up.
        """
        began = self.clock()
        for k in count():
            try:
                return attempt(k)
            except Exception as error:
                longest = min(self.first_wait_s * 2.0 ** min(k, 30), self.longest_wait_s)
                wait = longest * (1 + self.jitter()) / 2
                elapsed = self.clock() - began
                if not is_passing(error) or elapsed + wait > self.give_up_after_s:
                    raise
                on_wait(error, elapsed)
            self.sleep(wait)
        raise AssertionError  # count() does not end
