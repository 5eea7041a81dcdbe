"""How many steps the processes of a campaign have trained, those that were killed included."""

from __future__ import annotations

import struct
from pathlib import Path

COUNTING = Path(__file__).parent / "counting"
"""What has to be on PYTHONPATH."""


class CountedSteps:
    """The counts of all processes that were started with `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs for its steps to be counted."""
        return {"GROK_SWEEPS_COUNTED_STEPS": str(self._folder)}

    def total(self) -> int:
        """Run-steps trained until now."""
        return sum(self.by_process().values())

    def by_process(self) -> dict[str, int]:
        """Run-steps that each process has trained until now."""
        whole = {file.name: data for file in self._folder.iterdir() if len(data := file.read_bytes()) == 8}
        return {name: struct.unpack("=Q", data)[0] for name, data in whole.items()}
