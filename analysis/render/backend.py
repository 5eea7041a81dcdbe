"""Imports matplotlib so that no setting of the user's can keep it from being imported, or speaks in our output.

It reads `MPLBACKEND` and the first `matplotlibrc` that it finds (the working folder's too) while it is imported, and
fails where one names what is not there. We draw with Agg and with rc of our own, whatever they say; they are left as
they were for the user's own figures in the same process.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def import_matplotlib() -> Any:
    """The package, imported now unless it is there."""
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    with _without("MPLBACKEND") as backend, _quiet():
        try:
            package = _imported()
        except (OSError, ValueError):  # a matplotlibrc that cannot be read
            with _elsewhere():
                package = _imported()
    if backend is not None:
        with suppress(ValueError):
            package.rcParams["backend"] = backend
    return package


def _imported() -> Any:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # what a failed import has left
    importlib.import_module("matplotlib.backends.backend_agg")  # and the fonts, which are looked up as it is imported
    return sys.modules["matplotlib"]


@contextmanager
def _without(variable: str) -> Iterator[str | None]:
    value = os.environ.pop(variable, None)
    try:
        yield value
    finally:
        if value is not None:
            os.environ[variable] = value


@contextmanager
def _quiet() -> Iterator[None]:
    """No word of a folder that cannot be written or a line of an rc file that is not understood."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _elsewhere() -> Iterator[None]:
    """In an empty folder, which is matplotlib's own until this process ends."""
    folder = tempfile.mkdtemp(prefix="grok-sweeps-matplotlib-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    here = os.open(".", os.O_RDONLY)
    try:
        with _without("MATPLOTLIBRC"), _without("MPLCONFIGDIR"):
            os.environ["MPLCONFIGDIR"] = folder
            os.chdir(folder)
            try:
                yield
            finally:
                os.environ.pop("MPLCONFIGDIR", None)
    finally:
        os.fchdir(here)
        os.close(here)


import_matplotlib()
