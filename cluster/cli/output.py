"""Standard output and standard error, which may be closed, full or gone at any moment.

A command that answers ends when nobody reads its answer: quietly, as other tools do, where a pipe was closed, and with
one line where the disk is full. A command that trains goes on without the output, since its results go to the store.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CLOSED_PIPE = 128 + 13
"""Exit code after a closed pipe: what a shell reports of a program that SIGPIPE ends."""


class OutputLostError(Exception):
    """Standard output takes nothing any more; no `OSError`, which libraries handle in ways of their own."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}.")
        self.is_closed_pipe = error.errno == errno.EPIPE


class _Guarded:
    """A stream that takes what is written to it also where the file behind it does not.

    Once a write has failed, the file is the null device, so that nothing else fails by it: neither the interpreter when
    it ends, nor a child process. `lost` is told of the first failure.
    """

    def __init__(self, stream: Any, lost: Callable[[OSError], None]) -> None:
        self._stream, self._lost = stream, lost
        self._error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def buffer(self) -> _Guarded:
        """The bytes below; what is lost there raises at the next `flush` here, and never inside a library's writer."""
        return _Guarded(self._stream.buffer, self._remember)

    def _remember(self, error: OSError) -> None:
        self._error = error

    def write(self, data: Any) -> int:
        self._do(lambda: self._stream.write(data))
        return len(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._do(self._stream.flush)

    def _do(self, action: Callable[[], object]) -> None:
        if self._error is not None:
            self._lost(self._error)
            return
        try:
            action()
        except OSError as error:
            self._fail(OSError(error.errno, error.strerror))  # a new one, which keeps no frame of the command alive

    def _fail(self, error: OSError) -> None:
        self._error = error
        _to_null_device(self._stream)
        self._lost(error)


class _Standard:
    """What a lost standard output means for the command at work."""

    goes_on: Callable[[str], None] | None = None

    def output_lost(self, error: OSError) -> None:
        lost = OutputLostError(error)
        if self.goes_on is not None:
            tell, self.goes_on = self.goes_on, lambda _: None
            tell(str(lost))
        # In another thread (a live view's) it would be a traceback; the main thread meets it at its next write.
        elif threading.current_thread() is threading.main_thread():
            raise lost


_standard = _Standard()


def go_on_without_output(tell: Callable[[str], None]) -> None:
    """From now on a lost standard output does not end the command; `tell` is told once."""
    _standard.goes_on = tell


@contextmanager
def guarded_output() -> Iterator[None]:
    """Guard standard output while a command runs, and flush it in the end.

    Raises:
        OutputLostError: it was lost, and the command was not told to go on without.
    """
    _standard.goes_on = None
    before = sys.stdout
    sys.stdout = _Guarded(before, _standard.output_lost)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            sys.stdout = before


@contextmanager
def guarded_errors() -> Iterator[None]:
    """Guard standard error: that nobody hears of an error changes nothing."""
    before = sys.stderr
    sys.stderr = _Guarded(before, lambda _: None)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before


def open_closed_streams() -> None:
    """Put the null device where a stream was closed: the next file to be opened would take its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 for as long as the process


def _to_null_device(stream: Any) -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # no file is behind it
        pass
