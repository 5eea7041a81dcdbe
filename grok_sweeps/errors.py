"""Every error that a user can cause or must act on.

A message says what was wrong, where, what is allowed and the fix. The command line prints it as one line and exits
with `exit_code`; a traceback is reserved for our own bugs.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class GrokSweepsError(Exception):
    """Base of all errors with a message meant for the user."""

    exit_code = 1


class SpecError(GrokSweepsError):
    """A spec that cannot become a plan. Raised before anything is written."""

    exit_code = 2


class SweepConflictError(GrokSweepsError):
    """The store already holds a sweep of this name with another spec."""

    exit_code = 2


class StoreError(GrokSweepsError):
    """The store cannot be read or written (missing, read-only, full, unreachable)."""


class NoConditionalWritesError(StoreError):
    """The store's server or file system has no write that depends on what is there."""


class CorruptObjectError(StoreError):
    """An object of the store is not what its name says (truncated, foreign, of a newer schema)."""


class NewerSchemaError(CorruptObjectError):
    """An object was written by a later version of this project."""

    def __init__(self, name: str, written: object, read: int) -> None:
        super().__init__(name, written, read)  # as they came: from these it is made again in another process

    def __str__(self) -> str:
        name, written, read = self.args
        return f"{name}: written with schema {written}, this version reads up to {read}; upgrade grok-sweeps."


class LostParentError(StoreError):
    """The state that forks start from is missing or damaged; their parent has to be trained again."""


class ObjectGoneError(StoreError):
    """An object was deleted or replaced while it was read."""


class StoreWarning(UserWarning):
    """What a person should know of the store, and the work goes on."""


class UnreadableObjectWarning(StoreWarning):
    """An object in the store was skipped because it cannot be read."""


class PassingFaultWarning(StoreWarning):
    """The store does not answer, and is waited for."""


class LeaseHeldError(GrokSweepsError):
    """Another driver is at work on the sweep."""


class LeaseLostError(GrokSweepsError):
    """Another driver has taken over the sweep: whoever meets this writes nothing more."""


class CalibrationError(GrokSweepsError):
    """A later stage cannot start because its control did not give the number it needs."""


class EngineError(GrokSweepsError):
    """The engine that a sweep asks for does not work on the machine of a worker."""


class ClusterError(GrokSweepsError):
    """A Ray cluster that is not reached, refuses, or has no room for a pack."""


class ClusterGoneError(ClusterError):
    """Nothing answers where the cluster was."""


class QueryError(GrokSweepsError):
    """A query that DuckDB refuses, or a sweep that is not in the store."""

    exit_code = 2


class ExportError(GrokSweepsError):
    """A file outside the store that is not written: its name is taken, or its folder refuses."""

    exit_code = 2


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest allowed word, or an empty string."""
    close = get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
