"""How many steps processes have trained, those that were killed included, and how to make them train slowly."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

COUNTING = Path(__file__).parent / "counting"
"""What Python looks through for its `sitecustomize`."""
ROOT = Path(__file__).resolve().parents[2]


class CountedSteps:
    """The steps of all processes that were started with `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs for its steps to be counted; it finds this tree's modules too."""
        return {
            "GROK_SWEEPS_COUNTED_STEPS": str(self._folder),
            "PYTHONPATH": os.pathsep.join((str(COUNTING), str(ROOT))),
        }

    @contextlib.contextmanager
    def slowed(self, rest_s: float = 0.5) -> Iterator[None]:
        """Meanwhile training rests after every reading: what is under way stays so, however fast the machine is."""
        new, slow = self._folder / "slow.new", self._folder / "slow"
        new.write_text(f"{rest_s}")
        new.replace(slow)
        try:
            yield
        finally:
            slow.unlink()

    def total(self) -> int:
        """Run-steps trained until now."""
        return sum(self.by_process().values())

    def by_process(self) -> dict[str, int]:
        """Run-steps that each process has trained until now."""
        whole = {file.name: data for file in self._folder.glob("*-*") if len(data := file.read_bytes()) == 8}
        return {name: struct.unpack("=Q", data)[0] for name, data in whole.items()}
