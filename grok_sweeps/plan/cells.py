"""The cells of a plan, numbered in its order."""

from __future__ import annotations

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.plan import Plan


class Cells:
    """Which runs of a plan share a cell. A run is known by its place in the plan.

    Attributes:
        of_run: the number of each run's cell.
        members: the places of each cell's runs.
        configs: a config of each cell, that of its first run.
    """

    def __init__(self, plan: Plan) -> None:
        self.of_run: list[int] = []
        self.members: list[list[int]] = []
        self.configs: list[RunConfig] = []
        numbers: dict[str, int] = {}
        for place, run in enumerate(plan.runs):
            cell = numbers.setdefault(run.cell_id, len(numbers))
            if cell == len(self.members):
                self.members.append([])
                self.configs.append(run.config)
            self.members[cell].append(place)
            self.of_run.append(cell)
