"""Counts the steps that a process trains, in memory of a file: what is counted outlives a SIGKILL.

While there is a file `slow` beside the counts, training rests after every reading for the seconds that it names.
`GROK_SWEEPS_LEASE_S` shortens the lease, so that a stopped driver is replaced soon.

Python imports this by itself where its folder is on PYTHONPATH. The commands under test are not changed: they find the
trainer's class with its loop wrapped, and the lease's module with other times. A kill takes the steps since the last
reading from the count.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import mmap
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

FOLDER = os.environ.get("GROK_SWEEPS_COUNTED_STEPS")
TRAINER = "grok_sweeps.train.pack"
LEASE_S = os.environ.get("GROK_SWEEPS_LEASE_S")
LEASE = "grok_sweeps.store.lease"


class _Changed(importlib.abc.MetaPathFinder):
    """Finds a module once, and changes it when it is loaded."""

    def __init__(self, name: str, change: Callable[[Any], None]) -> None:
        self._name, self._change = name, change

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        loader: Any = spec.loader
        load = loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            self._change(module)

        loader.exec_module = load_and_change
        return spec


def _counter() -> memoryview:
    """One number in a file of this process's own."""
    with open(f"{FOLDER}/{os.getpid()}-{secrets.token_hex(4)}", "w+b") as file:
        file.truncate(8)
        return memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")


def _count(trainer: Any, counter: memoryview) -> None:
    train = trainer._to_next_reading

    def counted(self: Any) -> None:
        before = self.run_steps
        train(self)
        counter[0] += self.run_steps - before
        time.sleep(_rest_s())

    trainer._to_next_reading = counted


def _rest_s() -> float:
    try:
        with open(f"{FOLDER}/slow") as file:
            return float(file.read())
    except FileNotFoundError:
        return 0.0


def _shorten(lease: Any) -> None:
    shorter = float(LEASE_S or 0.0) / lease.LEASE_S
    lease.LEASE_S *= shorter
    lease.RENEW_EVERY_S *= shorter


if FOLDER:
    sys.meta_path.insert(0, _Changed(TRAINER, lambda module: _count(module.PackTrainer, _counter())))
if LEASE_S:
    sys.meta_path.insert(0, _Changed(LEASE, _shorten))
